#include "broker/guests.h"

#include "base/log.h"
#include "broker/passive.h"

namespace sockmi::broker {
namespace {

// A wildcard address says nothing: home's own is meant.
IpAddress address_of(const FourTuple& tuple, const SocketAddress& home_line) {
  return tuple.local.ip.wildcard() ? home_line.ip : tuple.local.ip.unmapped();
}

}  // namespace

Result<> admit(World& world, const FourTuple& tuple, const SocketAddress& home_line) {
  const IpAddress address = address_of(tuple, home_line);
  TRY(world.steering->shelter(address));
  auto readdressed = [&]() -> Result<> {
    TRY_LET(routed, world.steering->is_routed(home_line.ip));
    if (!routed) return {};
    const IpAddress& own = world.settings.address_for(address);
    return is_passive(tuple) ? world.steering->readdress_port({address, tuple.local.port}, own) : world.steering->readdress({&tuple, 1}, own);
  }();
  if (!readdressed) (void)world.steering->unshelter(address, world.settings.linger);
  return readdressed;
}

void dismiss(World& world, const FourTuple& tuple, const SocketAddress& home_line, milliseconds linger) {
  const IpAddress address = address_of(tuple, home_line), own = world.settings.address_for(address);
  auto gone = world.steering->unshelter(address, linger);
  if (const auto routed = world.steering->is_routed(home_line.ip); gone && routed && *routed)
    gone = is_passive(tuple) ? world.steering->remove_readdress_port({address, tuple.local.port}, own)
                             : world.steering->remove_readdress({&tuple, 1}, own, linger);
  if (!gone) log::error("event=rules_left connection={} error=\"{}\"", to_string(tuple), to_string(gone.error()));
}

}  // namespace sockmi::broker
