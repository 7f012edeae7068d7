#include "applications/hand_overs.h"

#include <gtest/gtest.h>
#include <sockmi/sockmi.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "applications/deliveries.h"

namespace sockmi::daemon {
namespace {

using std::chrono::milliseconds;

class HandOversTest : public testing::Test {
 protected:
  inline static const User www{33, "www"}, mallory{66, "mallory"};
  static constexpr pid_t kOld = 11, kNew = 12, kOther = 13;

  static ReadyEndpoint endpoint(std::uint8_t number) {
    ReadyEndpoint ready;
    ready.id = {number};
    ready.endpoint.service = "web";
    ready.endpoint.owner = www;
    ready.endpoint.state = SOCKMI_CONNECTED;
    ready.cookie = number;
    ready.kept_from.emplace(kOld, HandOvers::Clock::time_point::max());
    return ready;
  }
  // Offers a group of these endpoints. Returns the exporting process's token.
  Token offer(const std::vector<std::uint8_t>& numbers, milliseconds time = milliseconds(60'000)) {
    auto token = std::move(*Token::make());
    HandOvers::Group group{.token = *Token::adopt(unique_fd(::dup(token.fd())))};
    for (const std::uint8_t number : numbers)
      group.endpoints.push_back(endpoint(number));
    std::vector<HandOvers::Group> groups;
    groups.push_back(std::move(group));
    const std::size_t place = results_.size();
    results_.emplace_back();
    asio::co_spawn(io_, hand_overs_.offer(std::move(groups), HandOvers::Clock::now() + time),
                   [this, place](std::exception_ptr, std::vector<Result<>> results) {
                     results_[place] = std::move(results.at(0));
                   });
    io_.restart();
    io_.poll();
    return token;
  }
  // Returns what a process gets; 0: nothing.
  Deliveries::Number deliver(pid_t process, const User& user = www) {
    const Criteria any{.service = "web", .states = SOCKMI_CONNECTED, .local = {}, .remote = {}};
    std::vector<ReadyEndpoint> those;
    for (auto& each : queue_.take({any, any}, user, process))
      those.push_back(std::move(each.ready));
    return deliveries_.begin(std::move(those), process).value();
  }
  // The token as a process has got it.
  Token token_of(Deliveries::Number number) {
    return *Token::adopt(unique_fd(::dup(deliveries_.handed(number).front().token->fd())));
  }
  // The errno that the request got; 0: success; nothing: it is not over.
  std::optional<int> result(std::size_t place = 0) {
    io_.restart();
    io_.poll();
    const auto& found = results_.at(place);
    if (!found) return std::nullopt;
    return *found ? 0 : found->error().code;
  }
  void expect_nothing_left() {
    EXPECT_EQ(queue_.used(SOCKMI_CONNECTED), 0u);
    EXPECT_TRUE(queue_.ready().empty());
  }

  asio::io_context io_;
  const Policy policy_{{{"web", {}}}};
  ImportQueue queue_{{.bound = 1, .listening = 1, .connected = 3}, policy_};
  Deliveries deliveries_{queue_, [](auto) {
                           ADD_FAILURE() << "the journal knows no such endpoint";
                         }};
  HandOvers hand_overs_{io_.get_executor(), queue_};
  std::vector<std::optional<Result<>>> results_;
};

TEST_F(HandOversTest, SucceedWhenAProcessHasTakenTheToken) {
  Token ours = offer({1});
  const auto number = deliver(kNew);
  EXPECT_EQ(result(), std::nullopt);
  EXPECT_TRUE(token_of(number).take());
  EXPECT_TRUE(deliveries_.taken(number, {1}));
  EXPECT_EQ(result(), 0);
  EXPECT_FALSE(ours.take());
  expect_nothing_left();
}

TEST_F(HandOversTest, AProcessThatSaysSoWithoutTheTokenHasTakenNothing) {
  Token ours = offer({1});
  const auto number = deliver(kNew);
  EXPECT_FALSE(deliveries_.taken(number, {1}));
  EXPECT_EQ(result(), std::nullopt);
  EXPECT_EQ(queue_.ready().size(), 1u) << "another process may have it";
  EXPECT_TRUE(ours.take());
}

TEST_F(HandOversTest, NeitherTheExportingProcessNorAnotherUserGetsTheEndpoint) {
  (void)offer({1});
  EXPECT_EQ(deliver(kOld), 0u);
  EXPECT_EQ(deliver(kOther, mallory), 0u);
  EXPECT_NE(deliver(kNew), 0u);
}

// The first process may be stopped, and take the token at any time.
TEST_F(HandOversTest, OneProcessAfterAnotherIsOfferedTheSameToken) {
  Token ours = offer({1});
  Token first = token_of(deliver(kNew));
  deliveries_.take_back(HandOvers::Clock::now() + milliseconds(1));
  const auto second = deliver(kOther);
  ASSERT_NE(second, 0u);
  EXPECT_TRUE(first.take());
  EXPECT_FALSE(token_of(second).take());
  deliveries_.end(second);
  EXPECT_EQ(result(), 0) << "the first process has it";
  EXPECT_FALSE(ours.take());
  expect_nothing_left();
}

TEST_F(HandOversTest, AnEndpointOfADeadProcessIsOfferedToOthers) {
  (void)offer({1});
  deliveries_.end(deliver(kNew));
  EXPECT_EQ(result(), std::nullopt);
  EXPECT_NE(deliver(kOther), 0u);
}

TEST_F(HandOversTest, AProcessThatTookTheTokenAndDiedHasTheEndpoint) {
  (void)offer({1});
  const auto number = deliver(kNew);
  EXPECT_TRUE(token_of(number).take());
  deliveries_.end(number);
  EXPECT_EQ(result(), 0);
  expect_nothing_left();
}

TEST_F(HandOversTest, EndWithTheirTime) {
  Token ours = offer({1}, milliseconds(0));
  io_.restart();
  io_.run();
  EXPECT_EQ(result(), ETIMEDOUT);
  EXPECT_EQ(deliver(kNew), 0u);
  EXPECT_TRUE(ours.take());
  expect_nothing_left();
}

TEST_F(HandOversTest, AnEndpointThatIsDeliveredWhenTheTimeEndsDoesNotComeBack) {
  Token ours = offer({1});
  const auto number = deliver(kNew);
  hand_overs_.stop();
  EXPECT_EQ(result(), EHOSTDOWN);
  EXPECT_TRUE(ours.take());
  EXPECT_FALSE(token_of(number).take());
  deliveries_.end(number);
  expect_nothing_left();
}

TEST_F(HandOversTest, AGroupGoesAsAWholeWithOneToken) {
  Token ours = offer({1, 2});
  const auto number = deliver(kNew);
  ASSERT_EQ(deliveries_.handed(number).size(), 2u);
  EXPECT_EQ(deliveries_.handed(number)[0].token, deliveries_.handed(number)[1].token);
  EXPECT_TRUE(token_of(number).take());
  EXPECT_TRUE(deliveries_.taken(number, {2}));
  EXPECT_EQ(result(), 0);
  expect_nothing_left();
}

TEST_F(HandOversTest, AreRefusedBeyondTheSlots) {
  EXPECT_EQ(queue_.free_slots(SOCKMI_CONNECTED), 3u);
  (void)offer({1, 2});
  (void)offer({3, 4});
  EXPECT_EQ(result(1), ENOBUFS);
  EXPECT_EQ(queue_.used(SOCKMI_CONNECTED), 2u) << "the half of a group is left";
  EXPECT_EQ(result(0), std::nullopt);
}

TEST_F(HandOversTest, ASocketIsOfferedOnlyOnce) {
  Token ours = offer({1});
  (void)offer({1});
  EXPECT_EQ(result(1), EBUSY);
  EXPECT_EQ(result(0), std::nullopt);
  (void)offer({2, 2});
  EXPECT_EQ(result(2), EBUSY);
  hand_overs_.stop();
  EXPECT_EQ(result(0), EHOSTDOWN);
  (void)offer({1});
  EXPECT_EQ(result(3), std::nullopt) << "the first offer is over";
}

TEST_F(HandOversTest, AreGivenBackWhenNoProcessWaitsAnyMore) {
  const Criteria any{.service = "web", .states = SOCKMI_CONNECTED, .local = {}, .remote = {}};
  auto watch = queue_.watch(
      any, www, [] {}, kNew);
  EXPECT_EQ(queue_.watching("web", www, kOld), 1u);
  EXPECT_EQ(queue_.watching("web", www, kNew), 0u);
  (void)offer({1});
  const auto began = HandOvers::Clock::now();
  watch.reset();
  while (!result() && HandOvers::Clock::now() < began + std::chrono::seconds(20)) {
    queue_.look_after();
    hand_overs_.give_back_unwanted();
  }
  EXPECT_EQ(result(), ESRCH);
  expect_nothing_left();
}

}  // namespace
}  // namespace sockmi::daemon
