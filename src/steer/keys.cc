#include "steer/keys.h"

namespace sockmi::steer {

Bytes bytes_of(const IpAddress& ip) {
  const IpAddress plain = ip.unmapped();
  return {plain.view().begin(), plain.view().end()};
}

Bytes key_of(const SocketAddress& address) {
  Bytes key = bytes_of(address.ip);
  key.insert(key.end(), {std::uint8_t(address.port >> 8), std::uint8_t(address.port), 0, 0});
  return key;
}

Bytes key_of(const FourTuple& tuple) {
  Bytes key = key_of(tuple.remote);
  const Bytes local = key_of(tuple.local);
  key.insert(key.end(), local.begin(), local.end());
  return key;
}

FourTuple tuple_of(ByteView key) {
  const std::size_t half = key.size() / 2, address = half - 4;
  const auto side = [&](std::size_t at) {
    return SocketAddress{*IpAddress::from_bytes(key.subspan(at, address)), std::uint16_t(key[at + address] << 8 | key[at + address + 1])};
  };
  return {.local = side(half), .remote = side(0)};
}

}  // namespace sockmi::steer
