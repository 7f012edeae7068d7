#include "proxy/relay_selection.h"

#include "proxy/sockets.h"

namespace sockmi::proxy {

AddressMatch AddressMatch::from(const sockmi_match& match) {
  AddressMatch out{.port = match.port};
  const std::size_t size = match.af == AF_INET ? 4 : 16;
  if (match.af == AF_UNSPEC) return out;
  if (const auto network = IpAddress::from_bytes(ByteView(match.addr, size)))
    out.network = *network;
  out.bits = match.prefix;
  return out;
}

bool AddressMatch::fits(const SocketAddress& address) const {
  return (port == 0 || port == address.port) &&
         (network.any() || address.ip.in_prefix(network, bits));
}

bool RelaySelection::has(RelayRunner& relay) const {
  if (relay.state().listener != listener || relay.state().service != service) return false;
  if (local.fits_all() && peer.fits_all()) return true;
  const auto fits = [&](int fd) {
    return local.fits(local_address(fd)) && peer.fits(peer_address(fd));
  };
  return fits(relay.client().fd()) || fits(relay.backend().fd());
}

}  // namespace sockmi::proxy
