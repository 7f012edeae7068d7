// The connections that an imported listener has accepted, and how home answers the
// claims.
#include "connections/accepted.h"

#include <gtest/gtest.h>
#include <sockmi/sockmi.h>
#include <sys/socket.h>

#include <algorithm>
#include <deque>
#include <vector>

#include "base/spawn.h"
#include "connections/forget_host.h"
#include "connections/recovery.h"
#include "context/async_event.h"
#include "migration/accept_queue.h"
#include "steer/packet_marks.h"
#include "test_host.h"

namespace sockmi::daemon {
namespace {

enum class Home { Silent, Accepts };

// Gives the answers that the test lists, and then those of `home`. Keeps what was sent.
class HomeChannel : public cluster::ControlChannel {
 public:
  asio::awaitable<Result<Secret>> call(std::string, SocketAddress, Secret message,
                                       milliseconds) override {
    said.push_back(std::move(message));
    if (on_call) on_call();
    most_under_way = std::max(most_under_way, ++under_way);
    if (delay.count() > 0) co_await sleep_for(delay);
    --under_way;
    if (!answers.empty()) {
      const Result<> answer = answers.front();
      answers.pop_front();
      co_return wire::pack_answer(answer);
    }
    if (home == Home::Silent || said.size() <= silent_calls) co_return fail(EHOSTUNREACH, "silent");
    co_return wire::pack_answer(Result<>());
  }
  void set_member_addresses(std::function<bool(const IpAddress&)>) override {}
  bool connected(const std::string&) const override { return false; }

  Home home = Home::Accepts;
  milliseconds delay{0};
  std::size_t silent_calls = 0, under_way = 0, most_under_way = 0;
  std::deque<Result<>> answers;
  std::vector<Secret> said;
  std::function<void()> on_call;
};

class ClaimAcceptedTest : public testing::Test {
 protected:
  void SetUp() override {
    start();
    sockaddr_storage raw{};
    socklen_t size = SocketAddress{*IpAddress::parse("127.0.0.1"), 0}.to(raw);
    ASSERT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&raw), size), 0);
    ASSERT_EQ(::listen(listener_.get(), 1), 0);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&raw), &size);
    ASSERT_EQ(::connect(client_.get(), reinterpret_cast<sockaddr*>(&raw), size), 0);
    accepted_.reset(::accept(listener_.get(), nullptr, nullptr));
    local_ = SocketAddress::from(reinterpret_cast<sockaddr*>(&raw));
    imported_ = {.tuple = {local_, {}},
                 .service = "web",
                 .home = "H",
                 .home_control = control_,
                 .from = "H",
                 .from_control = control_};
  }

  void start() {
    host_.reset();
    host_ = std::make_unique<TestHost>(
        io_, Settings{.host = "B", .address = *IpAddress::parse("127.0.0.1")}, folder_.path);
    host_->use(std::make_unique<HomeChannel>());
  }
  void claim_accepted(std::function<bool()> is_due = [] { return true; }) {
    spawn(io_, "claim",
          daemon::claim_accepted(host_->services, table(), host_->connections.rules, local_,
                                 imported_, std::move(is_due)));
  }
  // Returns false if something is still waiting.
  bool run() {
    io_.restart();
    io_.run_for(std::chrono::seconds(10));
    return io_.stopped();
  }
  // The listener lives at C, and home has not confirmed that.
  RemoteConnection leave() {
    const RemoteConnection away{.service = "web",
                                .host = "C",
                                .address = *IpAddress::parse("192.0.2.3"),
                                .home = "H",
                                .home_control = control_,
                                .generation = 5,
                                .told_by = {}};
    table().mark_moved(imported_.tuple, away);
    return away;
  }
  ConnectionTable& table() { return host_->connections.table; }
  HomeChannel& home() { return static_cast<HomeChannel&>(*host_->control); }
  static unique_fd new_socket() {
    return unique_fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  }

  asio::io_context io_;
  const TestFolder folder_;
  std::unique_ptr<TestHost> host_;
  const unique_fd listener_ = new_socket(), client_ = new_socket();
  unique_fd accepted_;
  SocketAddress local_;
  const SocketAddress control_ = *SocketAddress::parse("192.0.2.1:7078");
  ImportedConnection imported_;
};

TEST_F(ClaimAcceptedTest, AHomeThatDoesNotAnswerIsAskedAgain) {
  home().silent_calls = 3;
  claim_accepted();
  EXPECT_TRUE(run());
  EXPECT_EQ(home().said.size(), 4u);
  EXPECT_EQ(table().imported().size(), 1u);
}

// Home does not know the address of this host yet, for example.
TEST_F(ClaimAcceptedTest, AClaimThatHomeRejectsForNowIsRepeated) {
  home().answers = {fail(EHOSTUNREACH, "not known"), fail(ENOBUFS, "no room")};
  claim_accepted();
  EXPECT_TRUE(run());
  EXPECT_EQ(home().said.size(), 3u);
}

TEST_F(ClaimAcceptedTest, AClaimThatHomeRejectsForGoodIsNotRepeated) {
  home().answers = {fail(ENOENT, "has ended")};
  claim_accepted();
  EXPECT_TRUE(run());
  EXPECT_EQ(home().said.size(), 1u);

  home().answers = {fail(EACCES, "not accepted")};
  claim_accepted();
  EXPECT_TRUE(run());
  EXPECT_EQ(home().said.size(), 2u);
}

TEST_F(ClaimAcceptedTest, AConnectionWithARecordIsClaimedAgain) {
  claim_accepted();
  EXPECT_TRUE(run());
  const auto before = table().imported();
  ASSERT_EQ(before.size(), 1u);

  claim_accepted();
  EXPECT_TRUE(run());

  EXPECT_EQ(table().imported(), before);
  ASSERT_EQ(home().said.size(), 2u);
  EXPECT_EQ(home().said[0], home().said[1]);
}

TEST_F(ClaimAcceptedTest, AConnectionOfAnotherHomeIsNotClaimed) {
  claim_accepted();
  EXPECT_TRUE(run());

  imported_.home = "K";
  claim_accepted();
  EXPECT_TRUE(run());

  EXPECT_EQ(home().said.size(), 1u);
}

TEST_F(ClaimAcceptedTest, ForgetEndsTheClaimsOfAListenerThatMoved) {
  leave();
  home().home = Home::Silent;
  home().on_call = [this] {
    if (home().said.size() == 2) forget_host(host_->connections, "H");
  };
  spawn(io_, "notify_accepted", host_->connections.homes.notify_accepted(imported_.tuple));
  EXPECT_TRUE(run());
  EXPECT_EQ(home().said.size(), 2u);
}

TEST_F(ClaimAcceptedTest, ForgetEndsTheClaimsOfAListenerThatEnded) {
  table().add_imported(1, imported_);
  home().home = Home::Silent;
  home().on_call = [this] {
    if (home().said.size() == 2) forget_host(host_->connections, "H");
  };
  spawn(io_, "notify_ended",
        host_->connections.homes.notify_ended(table().end_imported(1)->notice, imported_));
  EXPECT_TRUE(run());
  EXPECT_EQ(home().said.size(), 2u);
}

TEST_F(ClaimAcceptedTest, TheNextDaemonClaimsConnectionsBeforeItReportsTheirListener) {
  const RemoteConnection away = leave();
  start();
  ASSERT_TRUE(adopt(host_->connections));
  EXPECT_TRUE(run());
  const Secret moved =
      wire::pack_moved(imported_.tuple, away.address, away.host, away.service, away.generation);
  ASSERT_EQ(home().said.size(), 2u);
  EXPECT_NE(home().said[0], moved);
  EXPECT_EQ(home().said[1], moved);
}

// --- a listener that moves ---

class MovingListenerTest : public ClaimAcceptedTest {
 protected:
  Result<> move_to(const std::string& host, milliseconds time) {
    constexpr std::uint64_t kCookie = 1;
    table().add_imported(kCookie, imported_);
    ExportedEndpoint one({listener_.dup(), {.service = "web", .home = "H"}, -1});
    one.endpoint.state = SOCKMI_LISTENING;
    one.tuple = imported_.tuple;
    one.cookie = kCookie;
    const cluster::SelectedHost importer{
        .host = host, .control_address = control_, .other_address = {}};
    spawn(io_, "move", run_move(one, importer, Clock::now() + time));
    EXPECT_TRUE(run());
    return one.result;
  }

 private:
  asio::awaitable<void> run_move(ExportedEndpoint& one, const cluster::SelectedHost& importer,
                                 Clock::time_point decide_by) {
    const ExportMore none;  // nothing waits in the accept queue
    one.result = co_await move_accept_queue(host_->exports, one, importer, none, decide_by);
  }
};

TEST_F(MovingListenerTest, HomeKnowsTheAcceptedConnectionsBeforeTheListenerIsThere) {
  EXPECT_TRUE(move_to("H", milliseconds(5000)));
  EXPECT_EQ(home().said.size(), 1u);
  EXPECT_EQ(table().imported().size(), 2u) << "the listener and its connection";
}

// One after the other, the claims would need twice the time that they have.
TEST_F(MovingListenerTest, TheClaimsOfManyConnectionsShareTheDelayOfThePath) {
  constexpr std::size_t kAccepted = 200;
  sockaddr_storage raw{};
  const socklen_t size = local_.to(raw);
  std::vector<unique_fd> ends;
  while (ends.size() < 2 * (kAccepted - 1)) {
    ends.push_back(new_socket());
    ASSERT_EQ(::connect(ends.back().get(), reinterpret_cast<sockaddr*>(&raw), size), 0);
    ends.emplace_back(::accept(listener_.get(), nullptr, nullptr));
  }
  home().delay = milliseconds(50);
  EXPECT_TRUE(move_to("H", milliseconds(10'000)));
  EXPECT_EQ(home().said.size(), kAccepted);
  EXPECT_LE(home().most_under_way, 64u) << "home takes no more of a host at a time";
}

TEST_F(MovingListenerTest, AListenerStaysIfItsHomeDoesNotAnswerTheClaims) {
  home().home = Home::Silent;
  const auto moved = move_to("H", milliseconds(200));
  ASSERT_FALSE(moved);
  EXPECT_EQ(moved.error().code, ETIMEDOUT);
}

TEST_F(MovingListenerTest, AConnectionThatMovesHomeAsWellIsNotClaimed) {
  const std::uint32_t mark = steer::kFreezeMark;
  if (::setsockopt(accepted_.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0)
    GTEST_SKIP() << "this needs CAP_NET_ADMIN";
  EXPECT_TRUE(move_to("H", milliseconds(5000)));
  EXPECT_TRUE(home().said.empty());
  EXPECT_EQ(table().imported().size(), 1u);
}

TEST_F(MovingListenerTest, AnotherHostThanHomeGetsNoClaims) {
  EXPECT_TRUE(move_to("C", milliseconds(5000)));
  EXPECT_TRUE(home().said.empty());
}

}  // namespace
}  // namespace sockmi::daemon
