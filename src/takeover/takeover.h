// Moves an address to another host, with all connections at it. Afterwards the old host
// is not needed any more.
//
//   old holder                                new holder
//   Ask                   ->  checks that it is allowed, and has an interface for it
//   its connections move, one by one, each with its redirect: nothing can be lost so far
//   new connections are blocked; the last ones move
//   Hold                  ->  adds the address too, for some seconds, timed by its kernel
//   removes the address: the decision
//   Keep, repeated        ->  has it for good; its connections are at home; announces it
//   drops their records; redirects stay a while, for hosts that missed the announcement
//
// Between Hold and the decision both hosts may answer ARP. This is harmless: what reaches
// the old host is redirected.
//
// The outcome is in doubt if one of the two does not answer after Hold. Then neither host
// guesses: it probes the link (ARP) for another host that still has the address. A host
// that gets no answer keeps the address. The old host relies on an answer only after the
// Hold has expired: before, it may come from the kernel of a host whose daemon is dead.
//
// Alternatives considered:
// - Add the address to the new host only after it is removed from the old one. Then no
//   host has it in between, or for good, if a daemon dies.
// - Remove the address first (as in the SockMi paper). Then every connection is
//   interrupted for the whole time.
#pragma once

#include <set>

#include "applications/export_requests.h"
#include "context/world.h"
#include "net/addresses.h"

namespace sockmi::daemon {

struct TakeoverOutcome {
  std::string host;    // the new holder
  unsigned moved = 0;  // connections
  // Only with `force`: the connections that were left, because no application exported
  // them.
  std::vector<FourTuple> lost;
};

// Announces the address to the neighbours on its link, several times in a few seconds.
asio::awaitable<void> announce(net::HostAddress address);

class Takeovers {
 public:
  Takeovers(World& world, ExportRequests& requests) : world_(world), requests_(requests) {}

  // Moves our `address` to the host `to`, given by name or address. With `force` also if
  // connections are left that no application exports: they end.
  asio::awaitable<Result<TakeoverOutcome>> give(IpAddress address, std::string to, bool force);
  // Restores what an earlier daemon of this host has taken over, as far as the
  // configuration still allows it.
  void adopt();
  // Handles a message that the holder of an address sends to its next holder.
  Result<> told(const std::string& from, const wire::TakeOver& message);
  // `all`: the addresses that this host has. An address that was taken over and that
  // something else has removed from this host is added again, unless another host has it.
  void put_back(const std::vector<net::HostAddress>& all);

  // Probes for other hosts that have the addresses that were taken over, as long as the
  // daemon runs. After a link was split in two, each part may have a holder.
  asio::awaitable<void> watch_kept();
  std::vector<std::string> warnings() const;

 private:
  struct Held {
    net::HostAddress address;
    std::string from;
    std::uint64_t attempt;
  };
  bool may_be_brought(const IpAddress& address) const;
  Result<net::HostAddress> ours(const IpAddress& address) const;
  Result<net::HostAddress> place_for(const wire::TakeOver& message) const;
  Result<> hold(const std::string& from, const net::HostAddress& address);
  Result<> keep(const std::string& from, const net::HostAddress& address);
  Result<> keep_after_a_probe(const std::string& from, const net::HostAddress& address, bool held);
  asio::awaitable<void> probe(net::HostAddress address, bool held);
  asio::awaitable<void> look_for_others(IpAddress address);
  Result<> drop(const IpAddress& address);
  asio::awaitable<void> put_back(TakenOver address);
  asio::awaitable<void> resolve_in_doubt(IpAddress address, std::uint64_t attempt);

  asio::awaitable<Result<>> say(const cluster::HostInfo& to, wire::TakeOverStep step,
                                const net::HostAddress& address);
  asio::awaitable<Result<TakeoverOutcome>> move_connections(IpAddress address, cluster::HostInfo to,
                                                            bool force);
  asio::awaitable<Result<>> hand_over_address(net::HostAddress address, cluster::HostInfo to);

  World& world_;
  ExportRequests& requests_;
  // One at a time; its coroutine may outlive us.
  std::shared_ptr<bool> giving_ = std::make_shared<bool>(false);
  std::uint64_t attempts_ = 0;
  std::map<IpAddress, Held> held_;
  struct Kept {
    std::string from;  // a Keep is repeated until it is answered
    bool doubled = false;
  };
  std::map<IpAddress, Kept> kept_;  // of what was taken over
  struct Probe {
    Clock::time_point ended;
    Result<bool> elsewhere = false;
  };
  std::map<IpAddress, std::optional<Probe>> probes_;  // none: in progress
  std::map<IpAddress, TakenOver> taken_over_;         // as in the journal
  std::set<IpAddress> missing_;                       // of those: being added again
};

}  // namespace sockmi::daemon
