#include "base/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace sockmi {

Result<IpAddress> IpAddress::parse(std::string_view text) {
  const std::string copy(text);
  // inet_pton() would not see what follows a zero byte.
  if (copy.contains('\0')) return fail(EINVAL, "invalid IP address '{}'", text);
  IpAddress ip;
  for (int family : {AF_INET, AF_INET6}) {
    if (::inet_pton(family, copy.c_str(), ip.bytes.data()) == 1) {
      ip.family = family;
      return ip;
    }
  }
  return fail(EINVAL, "invalid IP address '{}'", text);
}

Result<IpAddress> IpAddress::from_bytes(ByteView bytes) {
  if (bytes.size() != 4 && bytes.size() != 16)
    return fail(EINVAL, "invalid IP address of {} bytes", bytes.size());
  IpAddress ip;
  ip.family = bytes.size() == 4 ? AF_INET : AF_INET6;
  std::ranges::copy(bytes, ip.bytes.begin());
  return ip;
}

IpAddress IpAddress::unmapped() const {
  static constexpr std::uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (family != AF_INET6 || std::memcmp(bytes.data(), kMapped, sizeof kMapped) != 0) return *this;
  return *from_bytes(ByteView(bytes).subspan(12));
}

bool IpAddress::in_prefix(const IpAddress& network, unsigned bits) const {
  if (network.any()) return true;
  if (family != network.family || bits > size() * 8) return false;
  const std::size_t whole = bits / 8, rest = bits % 8;
  if (std::memcmp(bytes.data(), network.bytes.data(), whole) != 0) return false;
  return rest == 0 || ((bytes[whole] ^ network.bytes[whole]) >> (8 - rest)) == 0;
}

Result<SocketAddress> SocketAddress::parse(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == text.npos) return fail(EINVAL, "invalid address '{}': expected ADDRESS:PORT", text);
  std::string_view host = text.substr(0, colon), digits = text.substr(colon + 1);
  if (host.size() > 1 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  SocketAddress out;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), out.port);
  if (error != std::errc() || end != digits.end())
    return fail(EINVAL, "invalid address '{}': expected ADDRESS:PORT", text);
  auto ip = IpAddress::parse(host);
  if (!ip) return pass(std::move(ip));
  out.ip = *ip;
  return out;
}

SocketAddress SocketAddress::from(const sockaddr* address) {
  SocketAddress out;
  if (address->sa_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(address);
    out.ip.family = AF_INET;
    std::memcpy(out.ip.bytes.data(), &in->sin_addr, 4);
    out.port = ntohs(in->sin_port);
  } else if (address->sa_family == AF_INET6) {
    const auto* in = reinterpret_cast<const sockaddr_in6*>(address);
    out.ip.family = AF_INET6;
    std::memcpy(out.ip.bytes.data(), &in->sin6_addr, 16);
    out.port = ntohs(in->sin6_port);
  }
  return out;
}

socklen_t SocketAddress::to(sockaddr_storage& out) const {
  out = {};
  out.ss_family = static_cast<sa_family_t>(ip.family);
  if (ip.family == AF_INET) {
    auto* in = reinterpret_cast<sockaddr_in*>(&out);
    std::memcpy(&in->sin_addr, ip.bytes.data(), 4);
    in->sin_port = htons(port);
    return sizeof *in;
  }
  auto* in = reinterpret_cast<sockaddr_in6*>(&out);
  std::memcpy(&in->sin6_addr, ip.bytes.data(), 16);
  in->sin6_port = htons(port);
  return sizeof *in;
}

std::string to_string(const IpAddress& ip) {
  if (ip.any()) return "*";
  char text[INET6_ADDRSTRLEN];
  return ::inet_ntop(ip.family, ip.bytes.data(), text, sizeof text);
}

std::string to_string(const SocketAddress& address) {
  const std::string host = to_string(address.ip);
  return address.ip.family == AF_INET6 ? fmt::format("[{}]:{}", host, address.port)
                                       : fmt::format("{}:{}", host, address.port);
}

std::string to_string(const FourTuple& tuple) {
  return to_string(tuple.local) + "<-" + to_string(tuple.remote);
}

}  // namespace sockmi
