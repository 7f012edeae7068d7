#include "connections/port_reservations.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/log.h"

namespace sockmi::daemon {
namespace {

// Binds a socket to the port. IP_FREEBIND: the address may be missing for a moment.
// SO_REUSEADDR is off, so that no other socket can share the port.
Result<unique_fd> hold(const SocketAddress& port) {
  unique_fd socket(::socket(port.ip.family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!socket) return fail_errno("cannot create a socket");
  const int yes = 1;
  const bool v4 = port.ip.family == AF_INET;
  if (::setsockopt(socket.get(), v4 ? SOL_IP : SOL_IPV6, v4 ? IP_FREEBIND : IPV6_FREEBIND, &yes,
                   sizeof yes) != 0)
    return fail_errno("cannot set IP_FREEBIND");
  sockaddr_storage address;
  const socklen_t size = port.to(address);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0) return socket;
  if (errno == EADDRINUSE) {
    return fail(EADDRINUSE,
                "port {} is used by this host or by another foreign connection, or was just now",
                to_string(port));
  }
  return fail_errno("cannot bind to " + to_string(port));
}

}  // namespace

Result<> PortReservations::lend(const FourTuple& listener, const SocketAddress& home,
                                const IpAddress& own, bool is_here) {
  const SocketAddress port{own, home.port};
  unique_fd held;
  if (!held_.contains(port) && !(is_here && listener.local.ip.wildcard())) {
    TRY_LET(socket, hold(port));
    held = std::move(socket);
  }
  TRY(services_.steering->own().rewrite_port(home, own));
  if (held && !listener.local.ip.wildcard()) held_[port] = std::move(held);
  wanted_.erase(listener);
  return {};
}

void PortReservations::take_back(const FourTuple& listener, const SocketAddress& home,
                                 const IpAddress& own) {
  if (!wanted_.erase(listener)) held_.erase({own, home.port});
  if (auto gone = services_.steering->own().stop_rewriting_port(home, own); !gone) {
    log::error("port_rewrite_remove_failed",
               {{"address", SocketAddress{own, home.port}}, {"error", gone.error()}});
  }
}

void PortReservations::want(const FourTuple& listener, const SocketAddress& home,
                            const IpAddress& own, const Error& why) {
  if (!wanted_.try_emplace(listener, Wanted{home, own}).second) return;
  log::error("port_taken", {{"listener", listener.local},
                            {"error", why},
                            {"consequence", "no new connections reach the listener"}});
}

bool PortReservations::is_still_taken(const FourTuple& listener) {
  const auto it = wanted_.find(listener);
  if (it == wanted_.end()) return false;
  const Wanted wanted = it->second;  // lend() removes it
  if (!lend(listener, wanted.home, wanted.own, true)) return true;
  log::info("port_freed", {{"listener", listener.local}});
  return false;
}

std::vector<FourTuple> PortReservations::retry() {
  std::vector<FourTuple> taken;
  const auto those = wanted_;
  for (const auto& [listener, it] : those)
    if (is_still_taken(listener) && !it.left) taken.push_back(listener);
  return taken;
}

void PortReservations::leave(const FourTuple& listener) {
  const auto it = wanted_.find(listener);
  if (it == wanted_.end()) return;
  const auto gone = services_.steering->own().stop_rewriting_port(it->second.home, it->second.own);
  it->second.left = gone.has_value();
  if (!gone) {
    log::error("port_rewrite_remove_failed",
               {{"address", SocketAddress{it->second.own, it->second.home.port}},
                {"error", gone.error()}});
  }
}

std::vector<std::string> PortReservations::warnings() const {
  std::vector<std::string> out;
  out.reserve(wanted_.size());
  for (const auto& [listener, it] : wanted_) {
    out.push_back(fmt::format(
        "{} is used by a socket of this host: no new connections reach {}, which has moved here",
        to_string(SocketAddress{it.own, it.home.port}), to_string(it.home)));
  }
  return out;
}

}  // namespace sockmi::daemon
