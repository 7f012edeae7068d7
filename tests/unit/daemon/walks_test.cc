// A property test: connections move over several hosts and end at a random moment, while
// messages between the hosts are lost, delayed, doubled and reordered. The records of
// connections (src/connections) are the real ones; the kernel, the sockets and the
// network between daemons are fakes. In the end no host has a record left, and until then
// home's redirect never leads back to an earlier holder.
#include <sys/eventfd.h>

#include <random>

#include <gtest/gtest.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "base/spawn.h"
#include "connections/imported.h"
#include "connections/lifecycle.h"
#include "context/async_event.h"
#include "stub_requests.h"
#include "test_host.h"

namespace sockmi::daemon {
namespace {

constexpr int kHosts = 4, kMostHops = 5;
constexpr milliseconds kLongestDelay{60}, kLongestStay{30}, kLateWriteTimeout{30000};

struct Odds {
  const char* name;
  int walks;
  double lost, doubled;  // of a message; an answer is lost as often
};

// The sockets whose end is reported when the test says so.
class FakeEnds : public net::SocketEnds {
 public:
  int fd() const override { return event_.get(); }
  Result<std::vector<net::TcpSocket>> ended() override {
    eventfd_t ignored;
    (void)::eventfd_read(event_.get(), &ignored);
    return std::exchange(ended_, {});
  }
  void end(std::uint64_t cookie) {
    ended_.push_back({.cookie = cookie, .tuple = {}});
    ::eventfd_write(event_.get(), 1);
  }

 private:
  unique_fd event_{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
  std::vector<net::TcpSocket> ended_;
};

class Net;

class SimulatedTransfer : public cluster::ControlChannel {
 public:
  void set_member_addresses(std::function<bool(const IpAddress&)>) override {}
  SimulatedTransfer(Net& net, std::string from) : net_(net), from_(std::move(from)) {}
  asio::awaitable<Result<Secret>> call(std::string host, SocketAddress, Secret message,
                                       milliseconds timeout) override;
  bool connected(const std::string&) const override { return true; }

 private:
  Net& net_;
  std::string from_;
};

class Host : public StubRequests {
 public:
  Host(asio::io_context& io, Net& net, std::string name, IpAddress address,
       const std::filesystem::path& folder)
      : folder_(folder / name) {
    host_ = std::make_unique<TestHost>(
        io, Settings{.host = name, .address = address, .linger = milliseconds(50)}, folder_);
    host_->use(std::make_unique<SimulatedTransfer>(net, name));
    host_->services.ends = &ends_;
    host_->services.find_socket = [this](const FourTuple& tuple) -> Result<net::TcpSocket> {
      for (const auto& [cookie, socket] : sockets)
        if (socket == tuple) return net::TcpSocket{.cookie = cookie, .tuple = tuple};
      return fail(ENOENT, "no such socket");
    };
    spawn(io, "watch_ends", watch_ends(host_->connections));
  }
  TestHost& host() { return *host_; }
  auto& redirected() { return host_->fake_steering.redirected; }
  void end(std::uint64_t cookie) {
    sockets.erase(cookie);
    ends_.end(cookie);
  }
  Result<> ended(const AuthenticatedHost& from, const FourTuple& tuple,
                 std::uint64_t generation) override {
    return host_->connections.homes.ended(from.host, tuple, generation);
  }
  Result<int> moved(const AuthenticatedHost& from, const FourTuple& tuple, const IpAddress& to,
                    const std::string& host, const std::string& service,
                    std::uint64_t generation) override {
    return host_->connections.homes.moved(from.host, tuple, to, host, service, generation);
  }
  Result<int> query_holder(const AuthenticatedHost& from, const FourTuple& tuple,
                           const std::string& service, const SocketAddress& control_address,
                           std::uint64_t generation, bool routed) override {
    return host_->connections.homes.query_holder(from.host, tuple, service, control_address,
                                                 generation, routed);
  }

  std::map<std::uint64_t, FourTuple> sockets;

 private:
  // Messages about endpoints in migration do not occur here.
  Result<> called() override {
    ADD_FAILURE();
    return fail(ENOTSUP, "not in this test");
  }
  std::filesystem::path folder_;
  FakeEnds ends_;
  std::unique_ptr<TestHost> host_;
};

class Net {
 public:
  Net(asio::io_context& io, const Odds& odds, unsigned seed) : io(io), random(seed), odds_(odds) {}
  bool happens(double odds) { return std::uniform_real_distribution<>(0, 1)(random) < odds; }
  milliseconds some(milliseconds most) {
    return milliseconds(std::uniform_int_distribution<int>(0, int(most.count()))(random));
  }
  SocketAddress control_address(int host) const { return {address(host), 7078}; }
  static IpAddress address(int host) {
    return *IpAddress::parse("192.0.2." + std::to_string(host + 1));
  }

  // Returns nothing if the message or its answer was lost.
  asio::awaitable<std::optional<Secret>> deliver(std::string from, std::string to,
                                                 std::shared_ptr<Secret> message) {
    if (happens(odds_.doubled)) spawn(io, "again", again(from, to, message));
    if (happens(odds_.lost)) co_return std::nullopt;
    co_await sleep_for(some(kLongestDelay));
    Secret answer = dispatch(*hosts.at(to), {.host = from}, *message);
    co_await sleep_for(some(kLongestDelay));
    if (happens(odds_.lost)) co_return std::nullopt;
    co_return std::optional<Secret>(std::move(answer));
  }
  asio::awaitable<void> again(std::string from, std::string to, std::shared_ptr<Secret> message) {
    co_await sleep_for(some(5 * kLongestDelay));
    (void)dispatch(*hosts.at(to), {.host = from}, *message);
  }

  asio::io_context& io;
  std::map<std::string, std::unique_ptr<Host>> hosts;
  std::mt19937 random;

 private:
  const Odds& odds_;
};

asio::awaitable<Result<Secret>> SimulatedTransfer::call(std::string host, SocketAddress,
                                                        Secret message, milliseconds) {
  auto answer = co_await net_.deliver(from_, host, std::make_shared<Secret>(std::move(message)));
  if (!answer) co_return fail(EHOSTUNREACH, "lost");
  co_return std::move(*answer);
}

class Walks : public testing::TestWithParam<Odds> {
 protected:
  void SetUp() override {
    const unsigned seed = std::random_device()();
    RecordProperty("seed", std::to_string(seed));
    SCOPED_TRACE(seed);
    net_ = std::make_unique<Net>(io_, GetParam(), seed);
    for (int i = 0; i < kHosts; ++i)
      net_->hosts[name_of(i)] =
          std::make_unique<Host>(io_, *net_, name_of(i), Net::address(i), folder_);
  }
  static std::string name_of(int host) { return std::string("host") + char('A' + host); }
  Connections& connections(int host) { return net_->hosts.at(name_of(host))->host().connections; }

  // One connection, whose home is host 0. A hop calls the same functions of lifecycle.h
  // as exporter.cc and importer.cc, in the same order.
  asio::awaitable<void> walk(int number) {
    const FourTuple tuple{{Net::address(0), 8443},
                          {*IpAddress::parse("198.51.100.1"), std::uint16_t(1000 + number)}};
    const std::string home = name_of(0);
    int at = 0;
    std::uint64_t cookie = 0, generation = 0;
    bool imported = false;
    co_await sleep_for(net_->some(10 * kLongestStay));
    for (int hops = std::uniform_int_distribution(1, kMostHops)(net_->random); hops > 0; --hops) {
      int to = std::uniform_int_distribution(0, kHosts - 2)(net_->random);
      if (to >= at) ++to;
      while (!connections(to).table.may_come(name_of(at), tuple)) {
        co_await sleep_for(milliseconds(5));
        if (net_->happens(0.05)) break;
      }
      if (!connections(to).table.may_come(name_of(at), tuple)) break;
      generation = next_generation(imported ? generation : 0);
      std::optional<RemoteConnection> away;
      if (to != 0)
        away = RemoteConnection{
            "web",      name_of(to), Net::address(to), home, net_->control_address(0), false,
            generation, {}};
      if (at == 0 && away)
        (void)connections(0)
            .services.steering->at(tuple.local.ip)
            .redirect(tuple, away->address, std::nullopt);
      const std::uint64_t left = std::exchange(cookie, ++cookies_);
      net_->hosts.at(name_of(to))->sockets[cookie] = tuple;  // frozen
      const MigrationId id{wire::MigrationId::value_type(cookie),
                           wire::MigrationId::value_type(cookie >> 8)};
      EXPECT_TRUE(connections(at).table.log_decision(id, {.cookie = left, .tuple = tuple}, away));
      connections(at).table.forget_decision(id);
      // COMMIT arrives; the bookkeeping on both sides takes place in any order.
      co_await sleep_for(net_->some(milliseconds(3)));
      connections(to).table.mark_returned(tuple);
      (void)connections(to).services.steering->at(tuple.local.ip).remove_redirect(tuple);
      co_await sleep_for(net_->some(milliseconds(3)));
      const auto settle = [this, to, at, tuple, cookie, generation, home] {
        add_imported(connections(to).table, connections(to).rules, cookie,
                     {tuple, "web", home, net_->control_address(0), name_of(at),
                      net_->control_address(at), generation});
      };
      const auto leave = [this, at, left, tuple, home] {
        net_->hosts.at(name_of(at))->sockets.erase(left);
        finish_export(connections(at), tuple, home, net_->control_address(0));
      };
      if (net_->happens(0.5)) {
        settle();
        co_await sleep_for(net_->some(milliseconds(3)));
        leave();
      } else {
        leave();
        co_await sleep_for(net_->some(milliseconds(3)));
        settle();
      }
      imported = true;
      at = to;
      if (net_->happens(0.7)) co_await sleep_for(net_->some(kLongestStay));
    }
    net_->hosts.at(name_of(at))->end(cookie);
    ++ended_;
  }

  // Returns what is left on any host, as text; lingering redirects do not count.
  std::string left() {
    std::string out;
    for (auto& [name, host] : net_->hosts) {
      for (const auto& [tuple, away] : host->host().connections.table.remote())
        out += name + ": " + to_string(tuple) + " is at " + away.host + "\n";
      for (const auto& [cookie, imported] : host->host().connections.table.imported())
        out += name + ": " + to_string(imported.tuple) + " lives here\n";
      for (const auto& [number, imported] : host->host().connections.table.journal().pending_ends())
        out += name + ": " + to_string(imported.tuple) + " is a pending end\n";
      for (const auto& [tuple, redirect] : host->redirected())
        if (!redirect.expires_in)
          out += name + ": " + to_string(tuple) + " is redirected to " + to_string(redirect.to) +
                 " for good\n";
    }
    return out;
  }

  asio::io_context io_;
  const TestFolder temporary_;
  const std::filesystem::path& folder_ = temporary_.path;
  std::unique_ptr<Net> net_;
  std::uint64_t cookies_ = 0;
  int ended_ = 0;
};

TEST_P(Walks, NoHostKeepsARecordAfterAllConnectionsEnd) {
  for (int i = 0; i < GetParam().walks; ++i)
    spawn(io_, "walk", walk(i));
  for (const auto until = Clock::now() + kLateWriteTimeout;
       (ended_ < GetParam().walks || !left().empty()) && Clock::now() < until;)
    io_.run_for(milliseconds(50));
  EXPECT_EQ(ended_, GetParam().walks);
  EXPECT_EQ(left(), "");
  for (auto& [name, host] : net_->hosts)
    EXPECT_EQ(host->host().counters.rejected, 0u);
}

INSTANTIATE_TEST_SUITE_P(Network, Walks,
                         testing::Values(Odds{"late", 500, 0, 0}, Odds{"doubled", 500, 0, 0.5},
                                         Odds{"lost", 60, 0.1, 0.3}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace sockmi::daemon
