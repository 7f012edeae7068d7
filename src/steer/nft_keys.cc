#include "steer/nft_keys.h"

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

SocketAddress address_of(ByteView key) {
  const std::size_t size = key.size() - 4;
  return {*IpAddress::from_bytes(key.first(size)), std::uint16_t(key[size] << 8 | key[size + 1])};
}

FourTuple tuple_of(ByteView key) {
  const std::size_t half = key.size() / 2;
  return {.local = address_of(key.subspan(half)), .remote = address_of(key.first(half))};
}

}  // namespace sockmi::steer
