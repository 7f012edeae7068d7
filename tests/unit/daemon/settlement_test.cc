// An exporter gets an answer to COMMIT about a connection that has gone elsewhere since.
// No socket is involved.
#include "migration/settlement.h"

#include <csignal>
#include <fstream>

#include <gtest/gtest.h>
#include <sockmi/sockmi.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/spawn.h"
#include "connections/recovery.h"
#include "migration/frozen_sockets.h"
#include "migration/marks.h"
#include "steer/packet_marks.h"
#include "tcp/capture.h"
#include "tcp/socket_info.h"
#include "tcp/states.h"
#include "test_host.h"

namespace sockmi::daemon {
namespace {

// Does not answer, and records who was called.
class SilentChannel : public cluster::ControlChannel {
 public:
  asio::awaitable<Result<Secret>> call(std::string host, SocketAddress, Secret,
                                       milliseconds) override {
    called.push_back(host);
    co_return fail(EHOSTUNREACH, "silent");
  }
  void set_member_addresses(std::function<bool(const IpAddress&)>) override {}
  bool connected(const std::string&) const override { return false; }
  std::vector<std::string> called;
};

class LateAnswerTest : public testing::Test {
 protected:
  LateAnswerTest() { start(); }
  void start() {
    host_.reset();
    host_ =
        std::make_unique<TestHost>(io_, Settings{.host = "A", .address = address_}, folder_.path);
    host_->use(std::make_unique<SilentChannel>());
  }
  void run() {
    io_.restart();
    io_.poll();
  }
  Connections& connections() { return host_->connections; }
  std::vector<std::string>& called() { return static_cast<SilentChannel&>(*host_->control).called; }
  RemoteConnection at(const char* host, std::uint64_t generation, const char* home = "A") const {
    return {"web",      host, *IpAddress::parse("192.0.2.7"), home, control_address_, false,
            generation, {}};
  }
  void decide(const RemoteConnection& away) {
    const Decision decision{
        .cookie = 7, .tuple = tuple_, .host = "M", .control_address = control_address_};
    ASSERT_TRUE(connections().table.log_decision(id_, decision, away));
  }
  // The decision of generation 5 was to move it to M.
  Result<> settle_as(Outcome outcome) {
    ExportedEndpoint one({unique_fd(), {.home = "A"}, -1});
    one.endpoint.state = SOCKMI_CONNECTED;
    one.endpoint.generation = 5;
    one.id = id_;
    one.tuple = tuple_;
    one.owner.emplace();
    one.decided = one.redirected = true;
    CommitProgress progress(io_.get_executor(), {.id = id_});
    progress.outcome = outcome;
    spawn(io_, "settle", settle(connections(), importer_, one, progress));
    run();
    return one.result;
  }

  asio::io_context io_;
  const IpAddress address_ = *IpAddress::parse("127.0.0.1");
  TestFolder folder_;
  std::unique_ptr<TestHost> host_;
  const wire::MigrationId id_{1};
  const SocketAddress control_address_ = *SocketAddress::parse("192.0.2.5:7078");
  const cluster::SelectedHost importer_{
      .host = "M", .control_address = control_address_, .other_address = {}};
  const FourTuple tuple_{*SocketAddress::parse("127.0.0.1:1"),
                         *SocketAddress::parse("192.0.2.9:9")};
};

TEST_F(LateAnswerTest, AConnectionThatHomeKnowsAtAThirdHostStaysThere) {
  for (const Outcome outcome : {Outcome::Ended, Outcome::NeverThawed})
    for (const auto& now : {at("K", 6), at("M", 7)}) {
      decide(at("M", 5));
      connections().table.mark_moved(tuple_, now);
      host_->fake_steering.redirected[tuple_] = {tuple_, now.address, std::nullopt, false};
      EXPECT_TRUE(settle_as(outcome));
      ASSERT_NE(connections().table.find_remote(tuple_), nullptr);
      EXPECT_EQ(*connections().table.find_remote(tuple_), now);
      EXPECT_TRUE(host_->fake_steering.redirected.contains(tuple_));
    }
}

TEST_F(LateAnswerTest, AConnectionThatTheImporterLostLosesItsRedirect) {
  for (const Outcome outcome : {Outcome::Ended, Outcome::NeverThawed}) {
    decide(at("M", 5));
    host_->fake_steering.redirected[tuple_] = {tuple_, address_, std::nullopt, false};
    EXPECT_FALSE(settle_as(outcome));
    EXPECT_EQ(connections().table.find_remote(tuple_), nullptr);
    EXPECT_FALSE(host_->fake_steering.redirected.contains(tuple_));
  }
}

// Home would redirect to an importer that perhaps never had it.
TEST_F(LateAnswerTest, TheNextDaemonDoesNotTellHomeWhatIsInDoubt) {
  decide(at("M", 5, "H"));
  start();
  ASSERT_TRUE(adopt(connections()));
  run();
  EXPECT_TRUE(called().empty());

  connections().table.forget_decision(id_);
  start();
  ASSERT_TRUE(adopt(connections()));
  run();
  EXPECT_EQ(called(), std::vector<std::string>{"H"});
}

// An earlier daemon froze a socket, and has left a damaged journal.
class LostDecisionTest : public LateAnswerTest {
 protected:
  void restart() {
    std::ofstream(folder_.path / "journal", std::ios::app) << "damaged\n";
    start();
    host_->services.all_sockets = [this] {
      return sockets_;
    };
    host_->fake_steering.redirected[tuple_] = {tuple_, there_, std::nullopt, false};
  }

  const IpAddress there_ = *IpAddress::parse("192.0.2.7");
  Sockets sockets_{{7,
                    {.cookie = 7,
                     .tuple = tuple_,
                     .state = tcp::kEstablished,
                     .inode = ~0u,
                     .mark = steer::kFreezeMark}}};
};

TEST_F(LostDecisionTest, TheRedirectStaysUntilAnOperatorDecides) {
  restart();
  ASSERT_TRUE(adopt(connections()));
  const auto& redirected = host_->fake_steering.redirected;
  ASSERT_TRUE(redirected.contains(tuple_));
  EXPECT_EQ(redirected.at(tuple_).expires_in, std::nullopt);

  // No process has the socket: it cannot be given back, and nothing changes.
  leave_frozen(connections(), tuple_, 7, 0);
  EXPECT_FALSE(host_->in_doubt.decide(frozen_id(7), Decide::Discard));
  EXPECT_TRUE(redirected.contains(tuple_));
}

// Has a socket, and does nothing with it.
class Application {
 public:
  explicit Application(const unique_fd&) : process_(::fork()) {
    if (process_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
      ::pause();
  }
  Application(const Application&) = delete;
  ~Application() {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }

 private:
  const pid_t process_;
};

TEST_F(LostDecisionTest, AnOperatorGivesTheEndpointBackToItsApplication) {
  const auto new_socket = [] {
    return unique_fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  };
  const unique_fd listener = new_socket(), client = new_socket();
  sockaddr_storage raw{};
  socklen_t size = SocketAddress{address_, 0}.to(raw);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&raw), size), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&raw), &size);
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&raw), size), 0);
  unique_fd server(::accept(listener.get(), nullptr, nullptr));
  const auto facts = tcp::socket_info(server.get());
  ASSERT_TRUE(facts);
  auto frozen = tcp::FrozenSocket::freeze(server.get(), kMarks);
  if (!frozen) GTEST_SKIP() << to_string(frozen.error());
  frozen->leave();
  restart();  // before the fork, which duplicates the lock of the journal
  const Application application(server);
  server.reset();
  host_->services.all_sockets = net::all_sockets;
  const FourTuple tuple = facts->tuple;
  connections().table.mark_moved(tuple, at("M", 5));
  host_->fake_steering.redirected[tuple] = {tuple, there_, std::nullopt, false};

  leave_frozen(connections(), tuple, facts->cookie, 0);
  ASSERT_TRUE(host_->in_doubt.decide(frozen_id(facts->cookie), Decide::Discard));

  EXPECT_FALSE(host_->in_doubt.has(frozen_id(facts->cookie)));
  EXPECT_FALSE(host_->fake_steering.redirected.contains(tuple));
  EXPECT_EQ(connections().table.find_remote(tuple), nullptr);
  const auto now = net::find_by_cookie(tuple, facts->cookie);
  ASSERT_TRUE(now);
  EXPECT_EQ(now->mark, 0u);
}

TEST_F(LostDecisionTest, TheRedirectOfASocketThatIsNotFrozenIsRemoved) {
  restart();
  sockets_.at(7).mark = 0;
  ASSERT_TRUE(adopt(connections()));
  EXPECT_FALSE(host_->fake_steering.redirected.contains(tuple_));
}

TEST_F(LostDecisionTest, HomeIsNotToldOfTheMove) {
  decide(at("M", 5, "H"));
  connections().table.forget_decision(id_);
  restart();
  ASSERT_TRUE(adopt(connections()));
  run();
  EXPECT_TRUE(called().empty());

  sockets_.clear();
  ASSERT_TRUE(adopt(connections()));
  run();
  EXPECT_EQ(called(), std::vector<std::string>{"H"});
}

}  // namespace
}  // namespace sockmi::daemon
