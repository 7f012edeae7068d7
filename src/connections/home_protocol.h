// The protocol between a home and the hosts that hold its endpoints. It keeps the path of
// packets short, and makes a redirect live as long as its connection.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "connections/foreign_rules.h"
#include "connections/table.h"
#include "connections/unreachable_hosts.h"
#include "context/services.h"

namespace sockmi::daemon {

class HomeProtocol {
 public:
  HomeProtocol(const Services& services, ConnectionTable& table, ForeignRules& rules)
      : services_(services),
        table_(table),
        rules_(rules) {}
  HomeProtocol(const HomeProtocol&) = delete;

  // --- sent by a host that holds, or held, an endpoint of another home ---

  // Notifies home of the connections that a listener accepted here before it moved on
  // from here (accepted.h). Home must know them before it knows that the listener moved.
  asio::awaitable<void> notify_accepted(FourTuple listener);
  // Notifies home that an endpoint moved on from here. Repeated until home has answered.
  asio::awaitable<void> notify_moved(FourTuple tuple);
  // Notifies home that a connection has ended here. `number`: its key in the journal.
  asio::awaitable<void> notify_ended(std::uint64_t number, ImportedConnection imported);
  // Notifies the homes of the connections imported here that our address of this family
  // has changed, so that they redirect packets to the new one.
  asio::awaitable<void> notify_address(int family);

  // --- received from other hosts; `from` is the name in the sender's certificate ---

  // Records that the connection lives at `host`, address `to`, now. Returns 1 if it was
  // unknown and is redirected again, 0 otherwise. Errors: ENOENT if we have no record of
  // it, or it has ended; EACCES if `from` does not hold it, or if its claim to an unknown
  // connection is not accepted; ENOBUFS (see check_room()).
  Result<int> moved(const std::string& from, const FourTuple& tuple, const IpAddress& to,
                    const std::string& host, const std::string& service,
                    std::uint64_t generation = 0);
  // Removes the redirect of a connection that has ended. Errors: ENOENT if we have no
  // record of it; EACCES if `from` neither holds it nor sent it to its holder.
  Result<> ended(const std::string& from, const FourTuple& tuple, std::uint64_t generation = 0);
  // Answers whether the connection is held here. Returns 1 if it lives here, or if it
  // moved on from here and its home has not confirmed that; 0 if not.
  // (RequestHandler::query_holder() also returns 2: it lives here, and its peer has not
  // answered.) `routed`: its packets come through a router, with our address as their
  // destination. Errors: EACCES if it lives here without a record, and `service` is not
  // served here.
  Result<int> query_holder(const std::string& from, const FourTuple& tuple,
                           const std::string& service, const SocketAddress& control_address,
                           std::uint64_t generation = 0, bool routed = false);

  // Compares records with another host, after its daemon or ours has started: what each
  // has recorded of the other's endpoints.
  asio::awaitable<void> reconcile(std::string host, SocketAddress control_address);
  // The endpoint has a new holder. Notifies the holder if packets reach it through a
  // router: it knows only its own route to us, which may be a direct one.
  asio::awaitable<void> notify_route(FourTuple tuple);
  // Our routes to these hosts have changed, and redirects already use the new ones.
  // Notifies the holders of the connections that we redirect there how their packets
  // arrive.
  asio::awaitable<void> notify_routes(std::vector<IpAddress> hosts);
  // Queries the holder of one redirect after the other, without a particular reason, as
  // long as the daemon runs.
  asio::awaitable<void> ask_in_turn();

  // Hosts that do not answer these messages.
  const UnreachableHosts& unreachable() const { return unreachable_; }
  void forget_unreachable(const std::string& host) { unreachable_.erase(host); }
  // True if records are being compared with a host.
  bool is_comparing() const { return !comparing_.empty(); }

 private:
  static constexpr milliseconds kMaxBackoff{5000};  // between two attempts to send a message

  asio::awaitable<Result<Result<int>>> ask(std::string host, SocketAddress control_address,
                                           Secret message);
  bool is_own(const IpAddress& ip) const;
  Result<bool> lives_at_home(const FourTuple& tuple) const;
  Result<> redirect_to_holder(const FourTuple& tuple, const RemoteConnection& away);
  Result<int> accept_claim(const std::string& from, const FourTuple& tuple, const IpAddress& to,
                           const std::string& service, std::uint64_t generation);
  Result<> forget(const FourTuple& tuple, std::uint64_t generation = 0);
  asio::awaitable<void> reassert_held(std::string host, SocketAddress control_address);
  void note_unheard(const FourTuple& tuple, const RemoteConnection& away, bool unheard);
  bool goes_by_router(const RemoteConnection& away) const;
  bool is_leaving(const FourTuple& tuple) const;
  asio::awaitable<bool> ask_about(FourTuple tuple, RemoteConnection away,
                                  SocketAddress control_address);
  asio::awaitable<void> verify_holders(std::string host, SocketAddress control_address);
  asio::awaitable<void> compare(std::string host, SocketAddress control_address);

  const Services& services_;
  ConnectionTable& table_;
  ForeignRules& rules_;
  UnreachableHosts unreachable_;
  // Hosts with which records are being compared (reconcile()). A value: the host has
  // started again meanwhile, and is asked there once more.
  std::map<std::string, std::optional<SocketAddress>> comparing_;
};

}  // namespace sockmi::daemon
