#include "applications/import_queue.h"
#include "applications/deliveries.h"

#include <gtest/gtest.h>
#include <sockmi/sockmi.h>

namespace sockmi::daemon {
namespace {

class ImportQueueTest : public testing::Test {
 protected:
  inline static const User www{33, "www"}, mallory{66, "mallory"}, root{0, "root"};
  static wire::MigrationId id(std::uint8_t number) { return {number}; }

  void add(std::uint8_t number, const char* peer, std::uint8_t state = SOCKMI_SERVER_ESTABLISHED,
           const User& owner = www) {
    ASSERT_TRUE(queue_.reserve(id(number), state));
    ReadyEndpoint ready;
    ready.id = id(number);
    ready.endpoint.service = "web";
    ready.endpoint.owner = owner;
    ready.endpoint.state = state;
    ready.tuple = {*SocketAddress::parse("10.0.0.1:443"), *SocketAddress::parse(peer)};
    ready.since = now_;
    queue_.add(std::move(ready));
  }
  static Criteria any(std::uint8_t states = SOCKMI_SERVER_ESTABLISHED | SOCKMI_SERVER_CONNECTED) {
    return {.service = "web", .states = states, .local = {}, .remote = {}};
  }
  // Returns the peers' ports that each criterion got; 0: none.
  std::vector<std::uint16_t> take(const std::vector<Criteria>& criteria, const User& user = www) {
    std::vector<std::uint16_t> ports(criteria.size());
    for (const auto& taken : queue_.take(criteria, user))
      ports[taken.criterion] = taken.ready.tuple.remote.port;
    return ports;
  }

  const Policy policy_{{{"web", {}}}};
  const std::chrono::steady_clock::time_point now_ = std::chrono::steady_clock::now();
  ImportQueue queue_{{.bound = 1, .listening = 0, .connected = 3}, policy_};
};

TEST_F(ImportQueueTest, TakeReturnsTheOldestEndpointsFirst) {
  add(1, "10.0.0.9:1001");
  add(2, "10.0.0.9:1002");
  EXPECT_EQ(take({any(), any(), any()}), (std::vector<std::uint16_t>{1001, 1002, 0}));
}

TEST_F(ImportQueueTest, TakeMeetsSomeCriteriaAndLeavesOthersUnmet) {
  add(1, "10.0.0.9:1001");
  Criteria picky = any();
  picky.remote.port = 1002;
  EXPECT_EQ(take({picky, any()}), (std::vector<std::uint16_t>{0, 1001}));
}

TEST_F(ImportQueueTest, CriteriaMatchPrefixesAndPorts) {
  add(1, "10.0.0.9:1001");
  add(2, "10.7.0.9:1002");
  Criteria from = any();
  from.remote = {*IpAddress::parse("10.7.0.0"), 16, 0};
  EXPECT_EQ(take({from}), (std::vector<std::uint16_t>{1002}));
  Criteria to = any();
  to.local.port = 444;
  EXPECT_EQ(take({to}), (std::vector<std::uint16_t>{0}));
}

TEST_F(ImportQueueTest, APreferredStateIsTakenFirst) {
  add(1, "10.0.0.9:1001", SOCKMI_SERVER_ESTABLISHED);
  add(2, "10.0.0.9:1002", SOCKMI_SERVER_CONNECTED);
  Criteria wanted = any();
  wanted.preferred = SOCKMI_SERVER_CONNECTED;
  EXPECT_EQ(take({wanted, wanted}), (std::vector<std::uint16_t>{1002, 1001}));
}

TEST_F(ImportQueueTest, OnlyTheOwnerAndRootTakeAnEndpoint) {
  add(1, "10.0.0.9:1001");
  EXPECT_EQ(take({any()}, mallory), (std::vector<std::uint16_t>{0}));
  EXPECT_EQ(take({any()}, root), (std::vector<std::uint16_t>{1001}));
}

TEST_F(ImportQueueTest, ReserveRefusesBeyondTheLimitUntilASlotIsFree) {
  for (std::uint8_t n = 1; n <= 3; ++n)
    ASSERT_TRUE(queue_.reserve(id(n), SOCKMI_SERVER_ESTABLISHED));
  EXPECT_TRUE(queue_.reserve(id(3), SOCKMI_SERVER_ESTABLISHED)) << "it has its place already";
  EXPECT_EQ(queue_.reserve(id(4), SOCKMI_SERVER_ESTABLISHED).error().code, ENOBUFS);
  EXPECT_EQ(queue_.reserve(id(4), SOCKMI_LISTENING).error().code, ENOBUFS);
  EXPECT_TRUE(queue_.reserve(id(4), SOCKMI_BOUND)) << "another list";
  queue_.release(id(1));
  EXPECT_TRUE(queue_.reserve(id(5), SOCKMI_SERVER_ESTABLISHED));
}

TEST_F(ImportQueueTest, CountsEndpointsByState) {
  ASSERT_TRUE(queue_.reserve(id(1), SOCKMI_BOUND));
  add(2, "10.0.0.9:1002");
  add(3, "10.0.0.9:1003", SOCKMI_SERVER_CONNECTED);
  EXPECT_EQ(queue_.used(SOCKMI_BOUND), 1u);
  EXPECT_EQ(queue_.ready(SOCKMI_BOUND), 0u);
  EXPECT_EQ(queue_.used(SOCKMI_CONNECTED), 2u);
  EXPECT_EQ(queue_.ready(SOCKMI_CONNECTED), 2u);
}

TEST_F(ImportQueueTest, AWatcherHearsOfItsServiceUntilItEnds) {
  int web = 0, mail = 0;
  auto watch = queue_.watch(any(), www, [&] { ++web; });
  Criteria of_mail = any();
  of_mail.service = "mail";
  const auto other = queue_.watch(of_mail, www, [&] { ++mail; });
  add(1, "10.0.0.9:1001");
  EXPECT_EQ(queue_.watching("web", www), 1u);
  watch.reset();
  add(2, "10.0.0.9:1002");
  EXPECT_EQ(web, 1);
  EXPECT_EQ(mail, 0);
  EXPECT_EQ(queue_.watching("web", www), 0u);
}

TEST_F(ImportQueueTest, AWatcherOfAnotherUserIsNoImporter) {
  int told = 0;
  const auto watch = queue_.watch(any(), mallory, [&] { ++told; });
  EXPECT_EQ(queue_.watching("web", www), 0u);
  EXPECT_EQ(queue_.watching("web", mallory), 1u);
  add(1, "10.0.0.9:1001");
  EXPECT_EQ(told, 0);
  EXPECT_FALSE(queue_.has_for("web", mallory));
  EXPECT_TRUE(queue_.has_for("web", www));
}

TEST_F(ImportQueueTest, TakeIfRemovesOnlyMatchingEndpoints) {
  add(1, "10.0.0.9:1001");
  add(2, "10.0.0.9:1002");
  EXPECT_EQ(
      queue_.take_if([](const ReadyEndpoint& ready) { return ready.tuple.remote.port == 1001; })
          .size(),
      1u);
  EXPECT_EQ(queue_.ready().size(), 1u);
}

class GroupTest : public ImportQueueTest {
 protected:
  // A TLS connection and one without TLS, and one of the first kind that has no group.
  void SetUp() override {
    add(3, "10.0.0.9:1003");
    std::vector<ReadyEndpoint> group;
    group.push_back(ready(1, "10.0.0.9:1001", SOCKMI_SERVER_ESTABLISHED));
    group.push_back(ready(2, "10.0.0.9:1002", SOCKMI_CONNECTED));
    queue_.add(std::move(group));
  }
  ReadyEndpoint ready(std::uint8_t number, const char* peer, std::uint8_t state) {
    EXPECT_TRUE(queue_.reserve(id(number), state));
    ReadyEndpoint out;
    out.id = id(number);
    out.endpoint = {.service = "web", .owner = www, .state = state};
    out.tuple = {*SocketAddress::parse("10.0.0.1:443"), *SocketAddress::parse(peer)};
    out.since = now_;
    return out;
  }
};

TEST_F(GroupTest, IsTakenOnlyAsAWhole) {
  EXPECT_EQ(take({any(SOCKMI_CONNECTED)}), (std::vector<std::uint16_t>{0}));
  EXPECT_EQ(take({any(), any()}), (std::vector<std::uint16_t>{1003, 0}));
  EXPECT_EQ(take({any(SOCKMI_CONNECTED), any()}), (std::vector<std::uint16_t>{1002, 1001}));
  EXPECT_TRUE(queue_.ready().empty());
}

TEST_F(GroupTest, GetsACriterionForEachEndpointIfThereIsAWay) {
  const auto all = any(SOCKMI_SERVER_ESTABLISHED | SOCKMI_CONNECTED);
  EXPECT_EQ(take({all, any()}), (std::vector<std::uint16_t>{1002, 1001}));
}

TEST_F(GroupTest, IsNotForAClientThatKnowsNoGroups) {
  const auto all = any(SOCKMI_SERVER_ESTABLISHED | SOCKMI_CONNECTED);
  EXPECT_EQ(queue_.take({all, all, all}, www, 0, false).size(), 1u);
  EXPECT_EQ(queue_.ready().size(), 2u);
}

TEST_F(GroupTest, IsNotForAUserWhoMayNotHaveIt) {
  const auto all = any(SOCKMI_SERVER_ESTABLISHED | SOCKMI_CONNECTED);
  EXPECT_EQ(take({all, all}, mallory), (std::vector<std::uint16_t>{0, 0}));
}

TEST_F(GroupTest, TakeIfTakesTheOthersToo) {
  EXPECT_EQ(queue_.take_if([](const ReadyEndpoint& each) { return each.tuple.remote.port == 1002; })
                .size(),
            2u);
  EXPECT_EQ(queue_.ready().size(), 1u);
}

TEST_F(GroupTest, TellsAWatcherOnce) {
  int told = 0;
  const auto watch =
      queue_.watch(any(SOCKMI_SERVER_ESTABLISHED | SOCKMI_CONNECTED), www, [&] { ++told; });
  auto group = queue_.take_if([](const ReadyEndpoint& each) { return each.group != 0; });
  queue_.add(std::move(group));
  EXPECT_EQ(told, 1);
}

TEST_F(GroupTest, GoesBackAsAWholeIfOneEndpointCannotBeUsed) {
  Deliveries deliveries{queue_};
  const auto deliver = [&](pid_t process) {
    std::vector<ReadyEndpoint> those;
    for (auto& each : queue_.take({any(SOCKMI_CONNECTED), any()}, www, process))
      those.push_back(std::move(each.ready));
    return deliveries.begin(std::move(those), process).value();
  };
  const auto number = deliver(11);
  ASSERT_EQ(deliveries.handed(number).size(), 2u);
  EXPECT_EQ(deliveries.handed(number)[0].token, deliveries.handed(number)[1].token);
  deliveries.failed(number, id(2), {ENOTSUP, "no such version"});
  EXPECT_TRUE(deliveries.handed(number).empty());
  EXPECT_EQ(queue_.ready().size(), 3u);
  EXPECT_EQ(queue_.take({any(SOCKMI_CONNECTED)}, www, 11).size(), 0u);

  const auto other = deliver(12);
  ASSERT_EQ(deliveries.handed(other).size(), 2u);
  deliveries.end(other);
  EXPECT_EQ(queue_.ready().size(), 3u);
}

TEST_F(GroupTest, AnApplicationThatTookTheTokenHasAll) {
  Deliveries deliveries{queue_};
  std::vector<ReadyEndpoint> those;
  for (auto& each : queue_.take({any(SOCKMI_CONNECTED), any()}, www, 11))
    those.push_back(std::move(each.ready));
  const auto number = deliveries.begin(std::move(those), 11).value();
  EXPECT_TRUE(Token::adopt(unique_fd(::dup(deliveries.handed(number)[1].token->fd())))->take());
  deliveries.end(number);
  EXPECT_EQ(queue_.ready().size(), 1u);
  EXPECT_EQ(queue_.used(SOCKMI_CONNECTED), 1u);
}

class DeliveriesTest : public ImportQueueTest {
 protected:
  static constexpr pid_t kOne = 11, kOther = 12;
  Deliveries::Number deliver(pid_t process) {
    std::vector<ReadyEndpoint> those;
    for (auto& each : queue_.take({any(), any()}, www, process))
      those.push_back(std::move(each.ready));
    return deliveries_.begin(std::move(those), process).value();
  }
  // Takes the token as the application does.
  bool take_token(Deliveries::Number number) {
    return Token::adopt(unique_fd(::dup(deliveries_.handed(number).front().token->fd())))->take();
  }
  std::size_t ready() const { return queue_.ready().size(); }
  Deliveries deliveries_{queue_};
};

TEST_F(DeliveriesTest, ATakenEndpointFreesItsSlot) {
  add(1, "10.0.0.9:1001");
  const auto number = deliver(kOne);
  EXPECT_EQ(ready(), 0u);
  EXPECT_FALSE(deliveries_.taken(number, id(2)));
  EXPECT_TRUE(deliveries_.taken(number, id(1)));
  EXPECT_FALSE(deliveries_.taken(number, id(1)));
  EXPECT_EQ(queue_.used(SOCKMI_CONNECTED), 0u);
  deliveries_.end(number);
  EXPECT_EQ(ready(), 0u);
}

TEST_F(DeliveriesTest, AnEndpointThatAProcessCannotUseGoesToOtherProcessesOnly) {
  int one = 0, other = 0;
  const auto watch = queue_.watch(
      any(), www, [&] { ++one; }, kOne);
  add(1, "10.0.0.9:1001");
  EXPECT_EQ(one, 1);
  const auto number = deliver(kOne);
  deliveries_.failed(number, id(1), {ENOTSUP, "no such version"});
  EXPECT_EQ(ready(), 1u);
  EXPECT_EQ(one, 1) << "it was told again";
  EXPECT_FALSE(queue_.is_wanted(queue_.ready().front()));
  EXPECT_EQ(deliver(kOne), 0u);
  {
    const auto second = queue_.watch(
        any(), mallory, [&] { ++other; }, kOther);
    EXPECT_FALSE(queue_.is_wanted(queue_.ready().front())) << "another user may not have it";
  }
  const auto second = queue_.watch(
      any(), www, [&] { ++other; }, kOther);
  EXPECT_TRUE(queue_.is_wanted(queue_.ready().front()));
  EXPECT_NE(deliver(kOther), 0u);
}

TEST_F(DeliveriesTest, AProcessWithoutDescriptorsIsOfferedItAgainLater) {
  int told = 0;
  const auto watch = queue_.watch(
      any(), www, [&] { ++told; }, kOne);
  add(1, "10.0.0.9:1001");
  deliveries_.failed(deliver(kOne), id(1), {EMFILE, "too many"});
  EXPECT_EQ(told, 1);
  EXPECT_EQ(deliver(kOne), 0u) << "at once, so a loop";
  EXPECT_TRUE(queue_.is_wanted(queue_.ready().front()));
  while (told == 1 && std::chrono::steady_clock::now() < now_ + std::chrono::seconds(20))
    queue_.look_after();
  EXPECT_EQ(told, 2);
  EXPECT_NE(deliver(kOne), 0u);
}

TEST_F(DeliveriesTest, AnUnconfirmedDeliveryIsTakenBackAfterItsDeadline) {
  add(1, "10.0.0.9:1001");
  const auto number = deliver(kOne);
  deliveries_.take_back(now_ - std::chrono::seconds(1));
  EXPECT_EQ(ready(), 0u);
  deliveries_.take_back(std::chrono::steady_clock::now() + std::chrono::seconds(1));
  EXPECT_EQ(ready(), 1u);
  EXPECT_FALSE(deliveries_.taken(number, id(1)));
  EXPECT_EQ(queue_.ready().front().came_back, 1u);
}

// Then the delivery is complete, although the application has not confirmed it yet.
TEST_F(DeliveriesTest, AnEndpointWhoseTokenWasTakenDoesNotComeBack) {
  add(1, "10.0.0.9:1001");
  auto number = deliver(kOne);
  EXPECT_TRUE(take_token(number));
  deliveries_.end(number);
  EXPECT_EQ(ready(), 0u);
  EXPECT_EQ(queue_.used(SOCKMI_CONNECTED), 0u);

  add(2, "10.0.0.9:1002");
  number = deliver(kOne);
  EXPECT_TRUE(take_token(number));
  deliveries_.take_back(std::chrono::steady_clock::now() + std::chrono::seconds(1));
  EXPECT_EQ(ready(), 0u);
  EXPECT_EQ(queue_.used(SOCKMI_CONNECTED), 0u);
}

TEST_F(DeliveriesTest, ATokenTakenBackCannotBeTaken) {
  add(1, "10.0.0.9:1001");
  const auto number = deliver(kOne);
  Token theirs =
      std::move(*Token::adopt(unique_fd(::dup(deliveries_.handed(number).front().token->fd()))));
  deliveries_.end(number);
  EXPECT_FALSE(theirs.take());
  EXPECT_EQ(ready(), 1u);
}

TEST(Match, ParsesPrefixesAddressesAndPorts) {
  EXPECT_TRUE(Match::parse("")->fits(*SocketAddress::parse("10.0.0.1:80")));
  EXPECT_TRUE(Match::parse("10.0.0.0/8")->fits(*SocketAddress::parse("10.9.9.9:80")));
  EXPECT_FALSE(Match::parse("10.0.0.1")->fits(*SocketAddress::parse("10.0.0.2:80")));
  EXPECT_FALSE(Match::parse("[fd00::1]:80")->fits(*SocketAddress::parse("[fd00::1]:81")));
  for (const char* wrong :
       {"10.0.0.0/", "10.0.0.0/x", "10.0.0.0/33", "10.0.0.0/8 ", "10.0.0.0/-1", "host"})
    EXPECT_FALSE(Match::parse(wrong)) << wrong;
}

}  // namespace
}  // namespace sockmi::daemon
