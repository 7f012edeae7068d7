#include "connections/foreign_rules.h"

#include "base/log.h"

namespace sockmi::daemon {
namespace {

// Returns the endpoint's address as it is in packets. For a wildcard, this is home's own
// address.
IpAddress address_of(const FourTuple& tuple, const SocketAddress& home_control) {
  return tuple.local.ip.wildcard() ? home_control.ip : tuple.local.ip.unmapped();
}

}  // namespace

// `is_here`: the endpoint has lived here for some time. It was here first, so it
// continues even if this host now has a connection of its own with the same addresses and
// ports.
Result<> ForeignRules::rewrite_destination(const FourTuple& tuple, const IpAddress& address,
                                           bool is_here) {
  const IpAddress& own = services_.settings.address_for(address);
  if (own.any())
    return fail(EAFNOSUPPORT, "this host has no address of the family of {}", to_string(address));
  if (is_passive(tuple)) return ports_.lend(tuple, {address, tuple.local.port}, own, is_here);
  const FourTuple there{{own, tuple.local.port}, tuple.remote};
  if (!is_here) {
    const auto own_socket = net::find_socket(there);
    if (own_socket)
      return fail(EADDRINUSE, "this host has its own connection {}", to_string(there));
    if (!is_absent(own_socket.error())) return std::unexpected(own_socket.error());
  }
  return services_.steering->own().rewrite_destination({&tuple, 1}, own);
}

void ForeignRules::take_back(const FourTuple& tuple, const IpAddress& address,
                             const IpAddress& own) {
  if (own.any()) return;
  if (is_passive(tuple)) return ports_.take_back(tuple, {address, tuple.local.port}, own);
  if (auto gone =
          services_.steering->own().stop_rewriting({&tuple, 1}, own, services_.settings.linger);
      !gone)
    log::error("foreign_rules_remove_failed", {{"connection", tuple}, {"error", gone.error()}});
}

Result<> ForeignRules::add(const FourTuple& tuple, const SocketAddress& home_control) {
  const IpAddress address = address_of(tuple, home_control);
  TRY_LET(routed, services_.steering->own().is_routed(home_control.ip));
  if (routed) TRY(rewrite_destination(tuple, address, false));
  addresses_.add({{address, tuple.local.port}, tuple.remote});
  return {};
}

void ForeignRules::readd(const FourTuple& tuple, const SocketAddress& home_control) {
  const IpAddress address = address_of(tuple, home_control);
  addresses_.add({{address, tuple.local.port}, tuple.remote});
  if (const auto routed = services_.steering->own().is_routed(home_control.ip); !routed) {
    log::warn("home_route_failed", {{"connection", tuple}, {"error", routed.error()}});
  } else if (*routed) {
    receive_by_router(tuple, home_control, true);
  }
}

// A connection of this host's own may have had these packets for a long time before home
// says so. Ports are checked by ports_.
void ForeignRules::comes_by_router(const FourTuple& tuple, const SocketAddress& home_control) {
  receive_by_router(tuple, home_control, is_passive(tuple));
}

void ForeignRules::receive_by_router(const FourTuple& tuple, const SocketAddress& home_control,
                                     bool is_here) {
  const IpAddress address = address_of(tuple, home_control),
                  own = services_.settings.address_for(address);
  const auto done = rewrite_destination(tuple, address, is_here);
  if (done) return;
  if (is_passive(tuple) && !own.any()) {
    ports_.want(tuple, {address, tuple.local.port}, own, done.error());
  } else if (!is_here && done.error().code == EADDRINUSE) {
    // Home says it again and again, and this host's own connection continues.
    log::debug("destination_rewrite_refused", {{"connection", tuple}, {"error", done.error()}});
  } else {
    log::error("destination_rewrite_failed", {{"connection", tuple}, {"error", done.error()}});
  }
}

void ForeignRules::rewrite_destinations(const ConnectionTable& table, const IpAddress& before) {
  for (const auto& [cookie, imported] : table.imported()) {
    const IpAddress address = address_of(imported.tuple, imported.home_control);
    if (services_.settings.address_for(address) == services_.settings.address) continue;
    const auto routed = services_.steering->own().is_routed(imported.home_control.ip);
    if (!routed || !*routed) continue;
    take_back(imported.tuple, address, before);
    receive_by_router(imported.tuple, imported.home_control, true);
  }
}

void ForeignRules::untrack(const FourTuple& tuple) {
  if (is_passive(tuple)) return;
  if (auto done = services_.steering->at(tuple.local.ip).untrack(tuple, services_.settings.linger);
      !done)
    log::warn("conntrack_delete_failed", {{"connection", tuple}, {"error", done.error()}});
}

void ForeignRules::remove(const FourTuple& tuple, const SocketAddress& home_control,
                          std::optional<milliseconds> linger) {
  const IpAddress address = address_of(tuple, home_control);
  const FourTuple foreign{{address, tuple.local.port}, tuple.remote};
  addresses_.drop(foreign, linger.value_or(services_.settings.linger));
  if (!addresses_.has(foreign)) take_back(tuple, address, services_.settings.address_for(address));
}

}  // namespace sockmi::daemon
