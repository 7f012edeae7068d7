// An address goes to another host, with all that is connected to it. Afterwards the old host is not needed any more.
//
//   old holder                                             new holder
//   Ask                                       ->  would it be allowed, and is there a place for it?
//   its connections move, one by one, each with its redirect: nothing is lost so far, whatever happens
//   no new connection begins; the last ones move
//   Hold                                      ->  has the address too, for some seconds, by the kernel's own clock
//   removes the address: the decision
//   Keep, repeated                            ->  has it for good; its connections are at home; tells the segment
//   forgets them; redirects stay a while for who has not heard
//
// In between both hosts may answer ARP, which does no harm: what reaches the old one goes on by the redirects. In doubt, that is when one of the two
// falls silent after Hold, nobody guesses: the segment is asked (an ARP probe) whether somebody else still has the address. Whoever hears that
// none has, keeps it. Rejected: to add the address to the new host only after it is gone from the old one, where nobody has it in between, or, should
// a daemon die, nobody at all; and to remove it first (as the article does), where every connection stands still for the whole of the time.
#pragma once

#include <set>

#include "applications/export_requests.h"
#include "context/world.h"
#include "net/addresses.h"

namespace sockmi::daemon {

struct TakeoverOutcome {
  std::string host;             // the new holder
  unsigned moved = 0;           // connections
  std::vector<FourTuple> lost;  // what was there still, and nobody exported (by force only)
};

// Tells the neighbours, some times in some seconds, that the address is here.
asio::awaitable<void> announce(net::HostAddress address);

class Takeovers {
 public:
  Takeovers(World& world, ExportRequests& requests) : world_(world), requests_(requests) {}

  // Gives our `address` to the host `to`, a name or an address. With `force` also if connections are left that nobody exports: they end.
  asio::awaitable<Result<TakeoverOutcome>> give(IpAddress address, std::string to, bool force);
  // What an earlier daemon of this host had taken over is ours again, as far as the configuration still lets it be brought here.
  void adopt();
  // What the holder says to the one that shall have it.
  Result<> told(const std::string& from, const wire::TakeOver& message);
  // `all`: the addresses that this host has. One that was taken over and that somebody else has removed here is put back, unless another host has it.
  void put_back(const std::vector<net::HostAddress>& all);

  // After a segment was in two parts each may have a holder: asks about what was taken over, for as long as the daemon runs.
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

  asio::awaitable<Result<>> say(const cluster::PeerInfo& to, wire::TakeOverStep step, const net::HostAddress& address);
  asio::awaitable<Result<TakeoverOutcome>> move_connections(IpAddress address, cluster::PeerInfo to, bool force);
  asio::awaitable<Result<>> send_commit(net::HostAddress address, cluster::PeerInfo to);

  World& world_;
  ExportRequests& requests_;
  std::shared_ptr<bool> giving_ = std::make_shared<bool>(false);  // one at a time; its coroutine may outlive us
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
  std::map<IpAddress, std::optional<Probe>> probes_;  // none: it is under way
  std::map<IpAddress, TakenOver> taken_over_;  // as the journal has them
  std::set<IpAddress> missing_;                // of those: being put back
};

}  // namespace sockmi::daemon
