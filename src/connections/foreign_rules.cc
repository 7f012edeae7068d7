#include "connections/foreign_rules.h"

#include "base/log.h"
#include "connections/lifecycle.h"
#include "connections/redirects.h"

namespace sockmi::daemon {
namespace {

// Returns the endpoint's address as it is in packets. For a wildcard, this is home's own
// address.
IpAddress address_of(const FourTuple& tuple, const SocketAddress& home_control) {
  return tuple.local.ip.wildcard() ? home_control.ip : tuple.local.ip.unmapped();
}

// `is_here`: the endpoint has lived here for some time. It was here first, so it
// continues even if this host now has a connection of its own with the same addresses and
// ports.
Result<> rewrite_destination(World& world, const FourTuple& tuple, const IpAddress& address,
                             bool is_here) {
  const IpAddress& own = world.settings.address_for(address);
  if (own.any())
    return fail(EAFNOSUPPORT, "this host has no address of the family of {}", to_string(address));
  if (is_passive(tuple))
    return world.port_reservations.lend(world, tuple, {address, tuple.local.port}, own, is_here);
  const FourTuple there{{own, tuple.local.port}, tuple.remote};
  if (!is_here) {
    const auto own_socket = net::find_socket(there);
    if (own_socket)
      return fail(EADDRINUSE, "this host has a connection {} of its own", to_string(there));
    if (!is_absent(own_socket.error())) return std::unexpected(own_socket.error());
  }
  return world.steering->rewrite_destination({&tuple, 1}, own);
}

void take_back(World& world, const FourTuple& tuple, const IpAddress& address,
               const IpAddress& own) {
  if (own.any()) return;
  if (is_passive(tuple))
    return world.port_reservations.take_back(world, tuple, {address, tuple.local.port}, own);
  if (auto gone = world.steering->remove_readdress({&tuple, 1}, own, world.settings.linger); !gone)
    log::error("event=rules_left connection={} error=\"{}\"", to_string(tuple),
               to_string(gone.error()));
}

}  // namespace

Result<> add_foreign_rules(World& world, const FourTuple& tuple,
                           const SocketAddress& home_control) {
  const IpAddress address = address_of(tuple, home_control);
  TRY_LET(routed, world.steering->is_routed(home_control.ip));
  if (routed) TRY(rewrite_destination(world, tuple, address, false));
  world.foreign_addresses.add({{address, tuple.local.port}, tuple.remote});
  return {};
}

void readd_foreign_rules(World& world, const FourTuple& tuple, const SocketAddress& home_control) {
  const IpAddress address = address_of(tuple, home_control);
  world.foreign_addresses.add({{address, tuple.local.port}, tuple.remote});
  if (const auto routed = world.steering->is_routed(home_control.ip); !routed)
    log::warn("event=home_out_of_reach connection={} error=\"{}\"", to_string(tuple),
              to_string(routed.error()));
  else if (*routed)
    comes_by_router(world, tuple, home_control);
}

void comes_by_router(World& world, const FourTuple& tuple, const SocketAddress& home_control) {
  const IpAddress address = address_of(tuple, home_control),
                  own = world.settings.address_for(address);
  const auto done = rewrite_destination(world, tuple, address, true);
  if (done) return;
  if (is_passive(tuple) && !own.any())
    world.port_reservations.want(tuple, {address, tuple.local.port}, own, done.error());
  else
    log::error("event=not_readdressed connection={} error=\"{}\"", to_string(tuple),
               to_string(done.error()));
}

void rewrite_foreign_destinations(World& world, const IpAddress& before) {
  for (const auto& [cookie, resident] : world.table.imported()) {
    const IpAddress address = address_of(resident.tuple, resident.home_control);
    if (world.settings.address_for(address) == world.settings.address) continue;
    const auto routed = world.steering->is_routed(resident.home_control.ip);
    if (!routed || !*routed) continue;
    take_back(world, resident.tuple, address, before);
    comes_by_router(world, resident.tuple, resident.home_control);
  }
}

void untrack(World& world, const FourTuple& tuple) {
  if (is_passive(tuple)) return;
  if (auto done = world.steering->untrack(tuple, world.settings.linger); !done)
    log::warn("event=tracking_left connection={} error=\"{}\"", to_string(tuple),
              to_string(done.error()));
}

void remove_foreign_rules(World& world, const FourTuple& tuple, const SocketAddress& home_control,
                          milliseconds linger) {
  const IpAddress address = address_of(tuple, home_control);
  const FourTuple guest{{address, tuple.local.port}, tuple.remote};
  world.foreign_addresses.drop(guest, linger);
  if (!world.foreign_addresses.has(guest))
    take_back(world, tuple, address, world.settings.address_for(address));
}

}  // namespace sockmi::daemon
