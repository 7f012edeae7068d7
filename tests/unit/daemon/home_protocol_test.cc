// Tests which claims of other hosts are accepted. The kernel and the other daemons are
// fakes.
#include "connections/home_protocol.h"
#include "connections/imported.h"

#include <sys/socket.h>

#include "connections/claims.h"
#include "context/async_event.h"

#include <gtest/gtest.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "steer/packet_marks.h"
#include "test_host.h"

namespace sockmi::daemon {
namespace {

// Answers what the test says, and records which hosts were called.
class FakeTransfer : public cluster::ControlChannel {
 public:
  asio::awaitable<Result<Secret>> call(std::string host, SocketAddress, Secret,
                                       milliseconds) override {
    asked.push_back(host);
    const auto it = answers.find(host);
    if (it == answers.end()) co_return fail(EHOSTUNREACH, "silent");
    co_return wire::pack_answer(it->second);
  }
  void set_member_addresses(std::function<bool(const IpAddress&)>) override {}
  bool connected(const std::string&) const override { return false; }
  std::map<std::string, Result<>> answers;
  std::vector<std::string> asked;
};

class HomeProtocolTest : public testing::Test {
 protected:
  void SetUp() override {
    host_ = std::make_unique<TestHost>(io_, Settings{.host = "home", .address = ip("127.0.0.1")},
                                       folder_);
    host_->use(std::make_unique<FakeTransfer>());
  }

  ConnectionTable& table() { return host_->connections.table; }
  HomeProtocol& homes() { return host_->connections.homes; }
  static IpAddress ip(const char* text) { return *IpAddress::parse(text); }
  auto& redirected() { return host_->fake_steering.redirected; }
  auto& transfer() { return static_cast<FakeTransfer&>(*host_->control); }
  // Our connection lives at `host` since this generation.
  void remember(const FourTuple& tuple, const RemoteConnection& remote) {
    table().mark_moved(tuple, remote);
  }
  void send_to(const std::string& host, const char* address, std::uint64_t generation = 0) {
    remember(tuple_, {"web",
                      host,
                      ip(address),
                      "home",
                      host_->settings.control_address(),
                      false,
                      generation,
                      {}});
  }

  asio::io_context io_;
  const TestFolder temporary_;
  const std::filesystem::path& folder_ = temporary_.path;
  std::unique_ptr<TestHost> host_;
  const FourTuple tuple_{*SocketAddress::parse("127.0.0.1:1"),
                         *SocketAddress::parse("192.0.2.9:9")};
  const FourTuple elsewhere_{*SocketAddress::parse("192.0.2.1:1"),
                             *SocketAddress::parse("192.0.2.9:9")};
};

TEST_F(HomeProtocolTest, OnlyTheHolderMayMoveOrEndAConnection) {
  send_to("B", "192.0.2.2");
  EXPECT_EQ(homes().moved("C", tuple_, ip("192.0.2.3"), "C", "web").error().code, EACCES);
  EXPECT_EQ(homes().ended("C", tuple_).error().code, EACCES);
  EXPECT_TRUE(redirected().empty());
  EXPECT_TRUE(homes().moved("B", tuple_, ip("192.0.2.3"), "C", "web"));
  EXPECT_EQ(redirected().at(tuple_).to, ip("192.0.2.3"));
  EXPECT_EQ(homes().ended("B", tuple_).error().code, EACCES);
  EXPECT_TRUE(homes().ended("C", tuple_));
  EXPECT_TRUE(redirected().at(tuple_).expires_in);
  EXPECT_TRUE(table().remote().empty());
}

TEST_F(HomeProtocolTest, ARepeatedMessageChangesNothing) {
  send_to("B", "192.0.2.2");
  EXPECT_EQ(homes().moved("A", tuple_, ip("192.0.2.2"), "B", "web"), 0);
  EXPECT_TRUE(redirected().empty());
  EXPECT_TRUE(homes().ended("B", tuple_));
  EXPECT_EQ(homes().ended("B", tuple_).error().code, ENOENT);
}

TEST_F(HomeProtocolTest, ClaimsOfAnEarlierGenerationChangeNothing) {
  send_to("B", "192.0.2.2", 10);
  EXPECT_TRUE(homes().moved("B", tuple_, ip("192.0.2.3"), "C", "web", 11));
  EXPECT_TRUE(homes().moved("C", tuple_, ip("192.0.2.2"), "B", "web", 12));
  EXPECT_EQ(homes().moved("B", tuple_, ip("192.0.2.3"), "C", "web", 11), 0) << "late, or again";
  EXPECT_TRUE(homes().ended("B", tuple_, 10)) << "of its first stay on B";
  EXPECT_EQ(table().find_remote(tuple_)->host, "B");
  EXPECT_EQ(redirected().at(tuple_).to, ip("192.0.2.2"));
}

TEST_F(HomeProtocolTest, EndedOutdatesClaimsOfEarlierGenerationsThatArriveLater) {
  table().add_unexplained_redirect(tuple_, ip("192.0.2.2"));
  send_to("B", "192.0.2.2", 10);
  EXPECT_TRUE(homes().ended("B", tuple_, 11)) << "it ended where B had sent it";
  EXPECT_EQ(homes().moved("B", tuple_, ip("192.0.2.3"), "C", "web", 11).error().code, ENOENT);
  EXPECT_EQ(homes().moved("B", tuple_, ip("192.0.2.2"), "B", "web", 10).error().code, ENOENT);
  EXPECT_TRUE(table().remote().empty());
  EXPECT_TRUE(redirected().at(tuple_).expires_in);
  EXPECT_EQ(homes().moved("B", tuple_, ip("192.0.2.2"), "B", "web", 12), 1)
      << "a later one with the same ports";
}

TEST_F(HomeProtocolTest, OnlyTheHolderMayExportAConnectionToHome) {
  EXPECT_TRUE(table().may_come("B", tuple_));
  send_to("B", "192.0.2.2");
  EXPECT_TRUE(table().may_come("B", tuple_));
  EXPECT_EQ(table().may_come("C", tuple_).error().code, EBUSY) << "it is at B";
}

TEST_F(HomeProtocolTest, QueryHolderConfirmsAFrozenSocketWithoutRecordingAnImport) {
  host_->services.find_socket = [this](const FourTuple&) {
    return Result<net::TcpSocket>({.cookie = 7, .tuple = elsewhere_, .mark = steer::kFreezeMark});
  };
  EXPECT_EQ(homes().query_holder("A", elsewhere_, "web", host_->settings.control_address()), 1);
  EXPECT_TRUE(table().imported().empty());
}

TEST_F(HomeProtocolTest, LivesLooksForASocketThatTheListLacks) {
  std::optional<std::uint64_t> found;
  host_->services.find_socket = [&](const FourTuple&) -> Result<net::TcpSocket> {
    if (!found) return fail(ENOENT, "none");
    return net::TcpSocket{.cookie = *found, .tuple = tuple_};
  };
  EXPECT_FALSE(lives(host_->services, {}, 7, tuple_));
  found = 8;
  EXPECT_FALSE(lives(host_->services, {}, 7, tuple_))
      << "another one with the same addresses and ports";
  found = 7;
  EXPECT_TRUE(lives(host_->services, {}, 7, tuple_));
  found.reset();
  EXPECT_TRUE(lives(host_->services, {{7, {.cookie = 7, .tuple = tuple_}}}, 7, tuple_));
  EXPECT_FALSE(lives(host_->services, {{7, {.cookie = 7, .tuple = elsewhere_}}}, 7, tuple_))
      << "cookies start again with the kernel";
}

// Does not answer for a while.
class SlowTransfer : public FakeTransfer {
 public:
  asio::awaitable<Result<Secret>> call(std::string host, SocketAddress, Secret,
                                       milliseconds) override {
    asked.push_back(host);
    most = std::max(most, ++under_way);
    co_await sleep_for(milliseconds(10));
    --under_way;
    co_return wire::pack_answer({}, 1);
  }
  int under_way = 0, most = 0;
};

TEST_F(HomeProtocolTest, ReconcileCallsARestartingHostOneCallAtATime) {
  send_to("B", "192.0.2.2");
  auto slow = std::make_unique<SlowTransfer>();
  SlowTransfer& transfer = *slow;
  host_->use(std::move(slow));
  for (int i = 0; i < 10; ++i)
    asio::co_spawn(io_, homes().reconcile("B", *SocketAddress::parse("192.0.2.2:7078")),
                   asio::detached);
  io_.run();
  EXPECT_EQ(transfer.most, 1);
  EXPECT_EQ(transfer.asked.size(), 2u) << "it has started since the first question";
  EXPECT_FALSE(homes().is_comparing());
}

TEST_F(HomeProtocolTest, MayReturnRefusesConnectionsThatNeverLeft) {
  EXPECT_EQ(may_return(host_->services, table(), "B", tuple_).error().code, EACCES);
  send_to("B", "192.0.2.2");
  EXPECT_TRUE(may_return(host_->services, table(), "B", tuple_));
  table().mark_returned(tuple_);
  const FourTuple listener{tuple_.local, {}};
  remember(listener, {"web", "B", ip("192.0.2.2"), "home", host_->settings.control_address()});
  EXPECT_TRUE(may_return(host_->services, table(), "B", tuple_))
      << "accepted there, by our listener";
  EXPECT_EQ(may_return(host_->services, table(), "C", tuple_).error().code, EACCES);
  EXPECT_EQ(may_return(host_->services, table(), "B",
                       {*SocketAddress::parse("127.0.0.1:2"), tuple_.remote})
                .error()
                .code,
            EACCES)
      << "of another port";
  table().mark_returned(listener);
  host_->settings.believe_holders = true;
  EXPECT_TRUE(may_return(host_->services, table(), "B", tuple_));
}

TEST_F(HomeProtocolTest, AnEarlierHolderMayReportTheEndAtTheNextOne) {
  send_to("B", "192.0.2.2", 10);
  EXPECT_TRUE(homes().moved("B", tuple_, ip("192.0.2.3"), "C", "web", 11));
  EXPECT_EQ(homes().ended("D", tuple_, 11).error().code, EACCES);
  EXPECT_TRUE(homes().ended("B", tuple_, 11));
  EXPECT_TRUE(table().remote().empty());
}

TEST_F(HomeProtocolTest, MovedAcceptsAHolderToWhichTheKernelStillRedirects) {
  table().add_unexplained_redirect(tuple_, ip("192.0.2.2"));
  EXPECT_EQ(homes().moved("C", tuple_, ip("192.0.2.3"), "C", "web").error().code, EACCES)
      << "it leads elsewhere";
  EXPECT_TRUE(redirected().empty());
  EXPECT_EQ(homes().moved("B", tuple_, ip("192.0.2.2"), "B", "web"), 1);
  EXPECT_EQ(redirected().at(tuple_).to, ip("192.0.2.2"));
  EXPECT_TRUE(table().journal().away().contains(tuple_));
  EXPECT_TRUE(homes().ended("B", tuple_));
  EXPECT_EQ(homes().moved("B", tuple_, ip("192.0.2.2"), "B", "web").error().code, EACCES)
      << "the next connection of these ports is another one";
}

TEST_F(HomeProtocolTest, MovedRefusesAHolderWithoutARedirectInTheKernel) {
  EXPECT_EQ(homes().moved("B", tuple_, ip("192.0.2.2"), "B", "web").error().code, EACCES);
  const FourTuple port{tuple_.local, {}};
  table().add_unexplained_redirect(port, ip("192.0.2.2"));
  EXPECT_EQ(homes().moved("B", port, ip("192.0.2.2"), "B", "web").error().code, EACCES)
      << "a whole port";
  EXPECT_TRUE(redirected().empty());
  EXPECT_TRUE(table().journal().away().empty());
}

TEST_F(HomeProtocolTest, CheckAddressAcceptsOnlyKnownAddressesOfThatHost) {
  const cluster::AuthenticatedHost from{"B", ip("192.0.2.2")};
  EXPECT_TRUE(check_address(host_->services, from, "B", ip("192.0.2.2")));
  EXPECT_EQ(check_address(host_->services, from, "B", ip("192.0.2.7")).error().code, EHOSTUNREACH)
      << "never heard";
  EXPECT_EQ(check_address(host_->services, from, "C", ip("192.0.2.2")).error().code, EHOSTUNREACH);
}

TEST_F(HomeProtocolTest, MovedRefusesClaimsForOtherHostsUnknownServicesAndForeignAddresses) {
  table().add_unexplained_redirect(tuple_, ip("192.0.2.2"));
  table().add_unexplained_redirect(elsewhere_, ip("192.0.2.2"));
  EXPECT_EQ(homes().moved("B", tuple_, ip("192.0.2.3"), "C", "web").error().code, ENOENT);
  EXPECT_EQ(homes().moved("B", tuple_, ip("192.0.2.2"), "B", "unheard of").error().code, EACCES);
  EXPECT_EQ(homes().moved("B", elsewhere_, ip("192.0.2.2"), "B", "web").error().code, EACCES);
  EXPECT_TRUE(redirected().empty());
}

TEST_F(HomeProtocolTest, NotifyEndedCallsTheSenderIfHomeIsSilent) {
  const SocketAddress control_address = *SocketAddress::parse("192.0.2.1:7078");
  const ImportedConnection imported{elsewhere_, "web", "A", control_address, "B", control_address};
  table().add_imported(7, imported);
  transfer().answers["B"] = {};
  asio::co_spawn(io_, homes().notify_ended(table().end_imported(7)->notice, imported),
                 asio::detached);
  io_.run();
  EXPECT_EQ(transfer().asked, (std::vector<std::string>{"A", "B"}));
  EXPECT_TRUE(table().journal().pending_ends().empty());
}

TEST_F(HomeProtocolTest, AForwardingHostPassesAnEndOnToHome) {
  remember(elsewhere_, {"web", "C", ip("192.0.2.3"), "A", *SocketAddress::parse("192.0.2.1:7078")});
  transfer().answers["A"] = {};
  EXPECT_TRUE(homes().ended("C", elsewhere_));
  EXPECT_EQ(table().journal().pending_ends().size(), 1u);
  io_.run();
  EXPECT_EQ(transfer().asked, std::vector<std::string>{"A"});
  EXPECT_TRUE(table().journal().pending_ends().empty());
  EXPECT_TRUE(redirected().at(elsewhere_).expires_in);
}

TEST_F(HomeProtocolTest, ForwardsUntilHomeIsNotified) {
  remember(elsewhere_, {"web", "C", ip("192.0.2.3"), "A", *SocketAddress::parse("192.0.2.1:7078")});
  asio::co_spawn(io_, homes().notify_moved(elsewhere_), asio::detached);
  while (transfer().asked.empty())
    io_.run_one();
  EXPECT_TRUE(table().find_remote(elsewhere_));
  EXPECT_TRUE(homes().unreachable().contains("A"));
  transfer().answers["A"] = {};
  io_.run();
  EXPECT_TRUE(table().remote().empty());
  EXPECT_FALSE(homes().unreachable().contains("A"));
}

TEST_F(HomeProtocolTest, QueryHolderConfirmsAnImportedPortWithoutLookingForItsSocket) {
  const FourTuple port{elsewhere_.local, {}};
  table().add_imported(7, {port, "web", "A", {}, "A", {}});
  EXPECT_EQ(homes().query_holder("A", port, "web", {}), 1);
  EXPECT_EQ(homes().query_holder("A", {*SocketAddress::parse("192.0.2.1:2"), {}}, "web", {}), 0);
}

TEST_F(HomeProtocolTest, QueryHolderReaddressesRoutedPacketsForHomeAlone) {
  host_->services.find_socket = [](const FourTuple& tuple) -> Result<net::TcpSocket> {
    return net::TcpSocket{.cookie = 7, .tuple = tuple};
  };
  table().add_imported(7,
                       {elsewhere_, "web", "A", *SocketAddress::parse("192.0.2.1:7078"), "A", {}});
  EXPECT_EQ(homes().query_holder("A", elsewhere_, "web", {}), 1);
  EXPECT_EQ(homes().query_holder("B", elsewhere_, "web", {}, 0, true), 1);
  EXPECT_TRUE(host_->fake_steering.rewritten_to.empty())
      << "by the word of another host than its home";
  EXPECT_EQ(homes().query_holder("A", elsewhere_, "web", {}, 0, true), 1);
  EXPECT_EQ(host_->fake_steering.rewritten_to.at(elsewhere_), host_->settings.address);
}

// Its packets have this host's address as their destination, and so would those that home
// says it sends through a router.
TEST_F(HomeProtocolTest, AHomeCannotHavePacketsOfOurOwnConnectionReaddressed) {
  const unique_fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      peer(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto address_of = [](const unique_fd& socket) {
    sockaddr_storage raw{};
    socklen_t size = sizeof raw;
    ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&raw), &size);
    return SocketAddress::from(reinterpret_cast<sockaddr*>(&raw));
  };
  sockaddr_storage raw{};
  const socklen_t size = SocketAddress{host_->settings.address, 0}.to(raw);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&raw), size), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  address_of(listener).to(raw);
  ASSERT_EQ(::connect(peer.get(), reinterpret_cast<sockaddr*>(&raw), size), 0);
  const FourTuple foreign{{ip("192.0.2.1"), address_of(listener).port}, address_of(peer)};
  host_->services.find_socket = [](const FourTuple& tuple) -> Result<net::TcpSocket> {
    return net::TcpSocket{.cookie = 7, .tuple = tuple};
  };
  table().add_imported(7, {foreign, "web", "A", *SocketAddress::parse("192.0.2.1:7078"), "A", {}});

  testing::internal::CaptureStdout();
  EXPECT_EQ(homes().query_holder("A", foreign, "web", {}, 0, true), 1);
  const std::string logged = testing::internal::GetCapturedStdout();

  EXPECT_TRUE(host_->fake_steering.rewritten_to.empty());
  EXPECT_EQ(logged, "") << "home may say this as often as it wants";
}

// The kernel did not answer: that is not the end of a connection.
TEST_F(HomeProtocolTest, AFailedLookupOfASocketEndsNoConnection) {
  host_->services.find_socket = [](const FourTuple&) -> Result<net::TcpSocket> {
    return fail(EMFILE, "sock_diag");
  };

  EXPECT_TRUE(lives(host_->services, {}, 7, elsewhere_));
  EXPECT_EQ(homes().query_holder("A", elsewhere_, "web", {}).error().code, EMFILE);
}

TEST_F(HomeProtocolTest, AFailedLookupOfASocketRefusesAClaimForNow) {
  table().add_unexplained_redirect(tuple_, ip("192.0.2.2"));
  host_->services.find_socket = [](const FourTuple&) -> Result<net::TcpSocket> {
    return fail(EMFILE, "sock_diag");
  };

  EXPECT_EQ(homes().moved("B", tuple_, ip("192.0.2.2"), "B", "web").error().code, EMFILE);

  EXPECT_TRUE(redirected().empty());
  host_->services.find_socket = net::find_socket;
  EXPECT_EQ(homes().moved("B", tuple_, ip("192.0.2.2"), "B", "web"), 1);
}

TEST_F(HomeProtocolTest, QueryHolderDeniesAConnectionWithoutASocket) {
  EXPECT_EQ(homes().query_holder("A", elsewhere_, "web", {}), 0);
}

}  // namespace
}  // namespace sockmi::daemon
