// Tests rules in the network namespaces of containers, over the life of several daemons:
// found again, given up, flushed.
#include "steer/namespaced_steering.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "network.h"

namespace sockmi::steer {
namespace {

using std::chrono::milliseconds;

// A process that lives in a host's namespace, by which that namespace can be found.
class Inhabitant {
 public:
  explicit Inhabitant(const Host& host) {
    int closed[2];
    EXPECT_EQ(::pipe2(closed, O_CLOEXEC), 0);
    pid_ = host.in([] {
      const pid_t pid = ::fork();
      if (pid != 0) return pid;
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::close_range(3, ~0u, 0);  // descriptors of the namespaces that daemons hold
      for (;;)
        ::pause();
    });
    ::close(closed[1]);
    EXPECT_EQ(::read(closed[0], closed, 1), 0);
    ::close(closed[0]);
  }
  ~Inhabitant() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  pid_t pid_ = -1;
};

// The daemon runs at home, the container is "near", and "far" is a host with a daemon of
// its own.
class NamespacedSteeringTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_make_namespaces()) GTEST_SKIP() << "this user may make no namespaces";
    network.emplace();
    container().stop();
    ASSERT_TRUE(container().in(flush));
    inhabitant.emplace(container());
    start();
  }
  void TearDown() override { stop(); }

  Host& container() { return network->near; }
  void start() {
    network->home.stop();
    network->home.in([&] {
      auto ours = make_nft_steering({"eth0"});
      ASSERT_TRUE(ours) << to_string(ours.error());
      (*ours)->keep(false);
      daemon = std::make_unique<NamespacedSteering>(std::move(*ours));
    });
  }
  void stop() {
    if (daemon) network->home.in([&] { daemon.reset(); });
  }
  static unique_fd socket_in(const Host& host) {
    return host.in([] { return unique_fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); });
  }
  void track_namespace() {
    const auto learnt = daemon->track_namespace(socket_in(container()).get(), tuple.local.ip);
    ASSERT_TRUE(learnt) << to_string(learnt.error());
  }
  // Runs in the daemon's own namespace, as the daemon does.
  int error_of_learning(const Host& host, const IpAddress& address) {
    return network->home.in([&] {
      const auto learnt = daemon->track_namespace(socket_in(host).get(), address);
      return learnt ? 0 : learnt.error().code;
    });
  }
  bool in_other_namespace(const IpAddress& address) {
    return network->home.in([&] { return daemon->in_other_namespace(address); });
  }
  std::size_t adopt() {
    const auto closed = network->home.in([&] { return daemon->adopt(); });
    EXPECT_TRUE(closed) << to_string(closed.error());
    return closed.value_or(0);
  }
  void restart() {
    stop();
    start();
    EXPECT_EQ(adopt(), 0u);
  }
  static bool has_rules(const Host& host) {
    return !host.run("nft list tables | grep sockmi || true").empty();
  }

  std::optional<Network> network;
  std::optional<Inhabitant> inhabitant;
  std::unique_ptr<NamespacedSteering> daemon;
  const FourTuple tuple{{Network::address(AF_INET, 1, 2), 443},
                        {Network::address(AF_INET, 3, 2), 1001}};
  const IpAddress importer = Network::address(AF_INET, 1, 9);
};

TEST_F(NamespacedSteeringTest, AdoptFindsRedirectsInContainers) {
  ASSERT_NO_FATAL_FAILURE(track_namespace());
  ASSERT_TRUE(daemon->at(tuple.local.ip).redirect(tuple, importer, std::nullopt));
  stop();
  EXPECT_TRUE(has_rules(container()));
  start();
  EXPECT_FALSE(daemon->in_other_namespace(tuple.local.ip));
  EXPECT_EQ(adopt(), 0u);
  EXPECT_TRUE(daemon->in_other_namespace(tuple.local.ip));
  const auto found = daemon->redirects();
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->front().tuple, tuple);
  EXPECT_EQ(found->front().to, importer);
  ASSERT_TRUE(daemon->at(tuple.local.ip).remove_redirect(tuple));
  daemon->forget_idle(milliseconds(0));
  EXPECT_FALSE(daemon->in_other_namespace(tuple.local.ip));
  EXPECT_FALSE(has_rules(container()));
}

TEST_F(NamespacedSteeringTest, AdoptFindsPortRedirectsInContainers) {
  ASSERT_NO_FATAL_FAILURE(track_namespace());
  ASSERT_TRUE(daemon->at(tuple.local.ip).redirect_port(tuple.local, importer, {}));
  daemon->forget_idle(milliseconds(0));
  restart();
  EXPECT_EQ(daemon->redirected_ports().value(), std::vector{tuple.local});
  ASSERT_TRUE(daemon->at(tuple.local.ip).remove_port_redirect(tuple.local));
  stop();
  EXPECT_FALSE(has_rules(container()));
}

TEST_F(NamespacedSteeringTest, ExpiringRedirectsAreNotKeptAfterStop) {
  ASSERT_NO_FATAL_FAILURE(track_namespace());
  ASSERT_TRUE(daemon->at(tuple.local.ip).redirect(tuple, importer, milliseconds(60'000)));
  daemon->forget_idle(milliseconds(0));
  EXPECT_TRUE(has_rules(container()));
  stop();
  EXPECT_FALSE(has_rules(container()));
}

TEST_F(NamespacedSteeringTest, AdoptRemovesRedirectsOfAddressesThatTheContainerLacks) {
  ASSERT_NO_FATAL_FAILURE(track_namespace());
  ASSERT_TRUE(daemon->at(tuple.local.ip).redirect(tuple, importer, std::nullopt));
  container().run(
      "nft add element netdev sockmi redir4 '{ 10.77.3.2 . 9 . 10.77.1.1 . 443 : 10.77.1.9 }'");
  container().run("ip addr add 10.77.1.1/24 dev eth0");  // home's address
  restart();
  EXPECT_FALSE(daemon->in_other_namespace(Network::address(AF_INET, 1, 1)));
  const auto found = daemon->redirects();
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->front().tuple, tuple);
}

TEST_F(NamespacedSteeringTest, AContainerCannotClaimAddressesOfTheHost) {
  const IpAddress homes = Network::address(AF_INET, 1, 1), later = Network::address(AF_INET, 1, 77);
  container().run("ip addr add 10.77.1.1/24 dev eth0 && ip addr add 10.77.1.77/24 dev eth0");
  EXPECT_EQ(error_of_learning(container(), homes), EADDRINUSE);
  EXPECT_FALSE(in_other_namespace(homes));
  EXPECT_EQ(error_of_learning(container(), later), 0);
  EXPECT_TRUE(in_other_namespace(later));
  network->home.run("ip addr add 10.77.1.77/24 dev eth0");
  EXPECT_FALSE(in_other_namespace(later)) << "what it gets later, too";
}

// IP_FREEBIND does not need a privilege.
TEST_F(NamespacedSteeringTest, ASocketOfTheHostCannotClaimAContainersAddress) {
  ASSERT_EQ(error_of_learning(container(), tuple.local.ip), 0);
  EXPECT_EQ(error_of_learning(network->home, tuple.local.ip), EADDRINUSE);
  EXPECT_TRUE(in_other_namespace(tuple.local.ip));
}

TEST_F(NamespacedSteeringTest, AnAddressWithMovedConnectionsStaysWithItsContainer) {
  network->far.stop();
  network->far.run("ip addr add 10.77.1.2/24 dev eth0");
  ASSERT_EQ(error_of_learning(container(), tuple.local.ip), 0);
  ASSERT_TRUE(network->home.in(
      [&] { return daemon->at(tuple.local.ip).redirect(tuple, importer, std::nullopt); }));
  EXPECT_EQ(error_of_learning(network->far, tuple.local.ip), EADDRINUSE);
  EXPECT_EQ(error_of_learning(container(), tuple.local.ip), 0);
  ASSERT_TRUE(network->home.in([&] { return daemon->at(tuple.local.ip).remove_redirect(tuple); }));
  EXPECT_EQ(error_of_learning(network->far, tuple.local.ip), 0)
      << "a container that was made again";
}

TEST_F(NamespacedSteeringTest, RulesOfAnotherDaemonAreNotTouched) {
  const Inhabitant of_far(network->far);
  network->far.stop();  // it leaves its rules in place
  ASSERT_TRUE(has_rules(network->far));
  EXPECT_EQ(adopt(), 0u);
  EXPECT_FALSE(daemon->in_other_namespace(Network::address(AF_INET, 2, 2)));
  stop();
  EXPECT_EQ(network->home.in(flush_others), 0u);
  EXPECT_TRUE(has_rules(network->far));
}

TEST_F(NamespacedSteeringTest, AdoptSkipsANamespaceThatAnotherDaemonServes) {
  ASSERT_NO_FATAL_FAILURE(track_namespace());
  ASSERT_TRUE(daemon->at(tuple.local.ip).redirect(tuple, importer, std::nullopt));
  stop();
  const auto home = network->home.in(own_namespace);
  const auto other = container().in([&] { return make_nft_steering({"eth0"}, home->inode); });
  ASSERT_TRUE(other) << to_string(other.error());
  start();
  EXPECT_EQ(adopt(), 1u);
  EXPECT_FALSE(daemon->in_other_namespace(tuple.local.ip));
}

TEST_F(NamespacedSteeringTest, FlushRemovesRulesInContainers) {
  ASSERT_NO_FATAL_FAILURE(track_namespace());
  ASSERT_TRUE(daemon->at(tuple.local.ip).redirect(tuple, importer, std::nullopt));
  EXPECT_EQ(network->home.in(flush_others).error().code, EADDRINUSE);
  EXPECT_TRUE(has_rules(container()));
  stop();
  EXPECT_TRUE(has_rules(container()));
  EXPECT_EQ(network->home.in(flush_others), 0u);
  EXPECT_FALSE(has_rules(container()));
}

TEST_F(NamespacedSteeringTest, RedirectPortRefusesAnImporterOnAnotherLink) {
  ASSERT_NO_FATAL_FAILURE(track_namespace());
  EXPECT_EQ(daemon->at(tuple.local.ip)
                .redirect_port(tuple.local, Network::address(AF_INET, 2, 2), {})
                .error()
                .code,
            ENETUNREACH);
}

}  // namespace
}  // namespace sockmi::steer
