#include "broker/guests.h"

#include "base/log.h"
#include "broker/passive.h"

namespace sockmi::broker {
namespace {

// A wildcard address says nothing: home's own is meant.
IpAddress address_of(const FourTuple& tuple, const SocketAddress& home_line) {
  return tuple.local.ip.wildcard() ? home_line.ip : tuple.local.ip.unmapped();
}

// The packets of its own that a host would lose: those of a listener, or of a connection, that has this port here. The endpoint's own socket, should it be
// here already, has home's address, or none.
Result<> check_port(const FourTuple& guest, const SocketAddress& own) {
  const bool passive = is_passive(guest);
  const FourTuple there{own, guest.remote};
  if (!passive) {
    if (steer::find_socket(there)) return fail(EADDRINUSE, "this host has a connection {} of its own", to_string(there));
    return {};
  }
  TRY_LET(all, steer::all_sockets());
  for (const auto& [cookie, socket] : all) {
    const SocketAddress& local = socket.tuple.local;
    const bool same = local.port == own.port && socket.tuple.remote.port == 0 && (local.ip.wildcard() || local.ip.unmapped() == own.ip);
    if (same && socket.tuple.unmapped() != guest.unmapped()) return fail(EADDRINUSE, "{} is a port of this host's own", to_string(own));
  }
  return {};
}

}  // namespace

Result<> admit(World& world, const FourTuple& tuple, const SocketAddress& home_line) {
  const IpAddress address = address_of(tuple, home_line);
  TRY_LET(routed, world.steering->is_routed(home_line.ip));
  if (routed) {
    const IpAddress& own = world.settings.address_for(address);
    TRY(check_port(tuple, {own, tuple.local.port}));
    TRY(is_passive(tuple) ? world.steering->readdress_port({address, tuple.local.port}, own) : world.steering->readdress({&tuple, 1}, own));
  }
  world.shelter.add({{address, tuple.local.port}, tuple.remote});
  return {};
}

void readdress_guests(World& world, const IpAddress& before) {
  for (const auto& [cookie, resident] : world.residents) {
    const IpAddress address = address_of(resident.tuple, resident.home_line), own = world.settings.address_for(address);
    if (own == world.settings.address) continue;
    const auto done = [&, &tuple = resident.tuple]() -> Result<> {
      TRY_LET(routed, world.steering->is_routed(resident.home_line.ip));
      if (!routed) return {};
      const SocketAddress home{address, tuple.local.port};
      if (!before.any()) TRY(is_passive(tuple) ? world.steering->remove_readdress_port(home, before)
                                               : world.steering->remove_readdress({&tuple, 1}, before, world.settings.linger));
      TRY(check_port(tuple, {own, tuple.local.port}));
      return is_passive(tuple) ? world.steering->readdress_port(home, own) : world.steering->readdress({&tuple, 1}, own);
    }();
    if (!done) log::error("event=not_readdressed connection={} error=\"{}\"", to_string(resident.tuple), to_string(done.error()));
  }
}

void untrack(World& world, const FourTuple& tuple) {
  if (is_passive(tuple)) return;
  if (auto done = world.steering->untrack(tuple, world.settings.linger); !done)
    log::warn("event=tracking_left connection={} error=\"{}\"", to_string(tuple), to_string(done.error()));
}

void dismiss(World& world, const FourTuple& tuple, const SocketAddress& home_line, milliseconds linger) {
  const IpAddress address = address_of(tuple, home_line), own = world.settings.address_for(address);
  world.shelter.drop({{address, tuple.local.port}, tuple.remote}, linger);
  Result<> gone;
  if (const auto routed = world.steering->is_routed(home_line.ip); routed && *routed)
    gone = is_passive(tuple) ? world.steering->remove_readdress_port({address, tuple.local.port}, own)
                             : world.steering->remove_readdress({&tuple, 1}, own, linger);
  if (!gone) log::error("event=rules_left connection={} error=\"{}\"", to_string(tuple), to_string(gone.error()));
}

}  // namespace sockmi::broker
