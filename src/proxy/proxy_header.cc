#include "proxy/proxy_header.h"

#include <charconv>
#include <vector>

#include "proxy/byte_reader.h"

namespace sockmi::proxy {
namespace {

constexpr std::string_view kSignature("\r\n\r\n\0\r\nQUIT\n", 12);  // of version 2
constexpr std::string_view kPrefix = "PROXY ";                      // of version 1
constexpr std::size_t kMinBytes = 15, kMaxLineBytes = 107;
constexpr std::size_t kHeadBytes2 = 16;  // of version 2
constexpr unsigned kVersion2 = 0x20, kLocal = 0, kProxy = 1;
constexpr unsigned kTcp4 = 0x11, kTcp6 = 0x21;

std::unexpected<Error> bad_header() {
  return fail(EPROTO, "malformed header of the PROXY protocol");
}

std::string_view text_of(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool begin_alike(std::string_view one, std::string_view other) {
  const std::size_t size = std::min(one.size(), other.size());
  return one.substr(0, size) == other.substr(0, size);
}

Result<SocketAddress> read_address(int family, std::string_view ip, std::string_view port) {
  const auto address = IpAddress::parse(ip);
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (!address || address->family != family || error != std::errc() ||
      end != port.data() + port.size())
    return bad_header();
  return SocketAddress{*address, number};
}

// PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n
Result<ProxyHeader> read_line(std::string_view text) {
  const auto end = text.find("\r\n");
  if (end == text.npos) {
    if (text.size() >= kMaxLineBytes) return bad_header();
    return ProxyHeader{.missing = 1};
  }
  if (end + 2 != text.size()) return bad_header();
  std::vector<std::string_view> words;
  for (std::string_view rest = text.substr(0, end);;) {
    const auto space = rest.find(' ');
    words.push_back(rest.substr(0, space));
    if (space == rest.npos) break;
    rest.remove_prefix(space + 1);
  }
  ProxyHeader header;
  if (words[1] == "UNKNOWN") return header;
  const int family = words[1] == "TCP4" ? AF_INET : words[1] == "TCP6" ? AF_INET6 : AF_UNSPEC;
  if (words.size() != 6 || family == AF_UNSPEC) return bad_header();
  TRY_LET(client, read_address(family, words[2], words[4]));
  TRY_LET(local, read_address(family, words[3], words[5]));
  header.client = client;
  header.local = local;
  return header;
}

Result<ProxyHeader> read_binary(ByteView bytes) {
  ByteReader reader(bytes);
  reader.take(kSignature.size());
  if (bytes.size() < kHeadBytes2) return ProxyHeader{.missing = kHeadBytes2 - bytes.size()};
  const auto command = reader.number(1);
  const auto family = reader.number(1);
  const std::size_t size = reader.number(2);
  if ((command & 0xf0) != kVersion2 || (command & 0x0f) > kProxy ||
      kHeadBytes2 + size > kMaxProxyHeaderBytes || reader.left() > size)
    return bad_header();
  if (reader.left() < size) return ProxyHeader{.missing = size - reader.left()};
  ProxyHeader header;
  // What follows the addresses is not used. The sender speaks for itself, or for a client
  // that does not use TCP: then nothing is known of the client.
  if ((command & 0x0f) == kLocal || (family != kTcp4 && family != kTcp6)) return header;
  ByteReader body(reader.take(size));
  const std::size_t ip_bytes = family == kTcp4 ? 4 : 16;
  const auto client = body.take(ip_bytes), local = body.take(ip_bytes);
  const auto client_port = static_cast<std::uint16_t>(body.number(2));
  const auto local_port = static_cast<std::uint16_t>(body.number(2));
  if (body.failed()) return bad_header();
  TRY_LET(client_ip, IpAddress::from_bytes(client));
  TRY_LET(local_ip, IpAddress::from_bytes(local));
  header.client = {client_ip, client_port};
  header.local = {local_ip, local_port};
  return header;
}

// A sender with sockets for both families says IPv4 addresses as IPv6 ones.
ProxyHeader unmapped(const ProxyHeader& header) {
  const IpAddress client = header.client.ip.unmapped(), local = header.local.ip.unmapped();
  if (client.family != local.family) return header;
  return {.client = {client, header.client.port},
          .local = {local, header.local.port},
          .missing = header.missing};
}

Bytes write_line(bool known, const SocketAddress& client, const SocketAddress& local) {
  std::string line = "PROXY UNKNOWN\r\n";
  if (known) {
    line = fmt::format("PROXY {} {} {} {} {}\r\n", client.ip.family == AF_INET ? "TCP4" : "TCP6",
                       to_string(client.ip), to_string(local.ip), client.port, local.port);
  }
  return Bytes(line.begin(), line.end());
}

Bytes write_binary(bool known, const SocketAddress& client, const SocketAddress& local) {
  Bytes out(kSignature.begin(), kSignature.end());
  const auto number = [&](std::size_t value) {
    out.push_back(static_cast<std::uint8_t>(value >> 8));
    out.push_back(static_cast<std::uint8_t>(value));
  };
  out.push_back(static_cast<std::uint8_t>(kVersion2 | (known ? kProxy : kLocal)));
  out.push_back(static_cast<std::uint8_t>(!known                        ? 0u
                                          : client.ip.family == AF_INET ? kTcp4
                                                                        : kTcp6));
  number(known ? 2 * client.ip.size() + 4 : 0);
  if (!known) return out;
  for (const auto& address : {client, local})
    out.insert(out.end(), address.ip.view().begin(), address.ip.view().end());
  number(client.port);
  number(local.port);
  return out;
}

}  // namespace

Result<ProxyHeader> read_proxy_header(ByteView bytes) {
  const std::string_view text = text_of(bytes);
  if (begin_alike(text, kPrefix) || begin_alike(text, kSignature)) {
    if (text.size() < kMinBytes) return ProxyHeader{.missing = kMinBytes - text.size()};
    TRY_LET(header, text.starts_with(kPrefix) ? read_line(text) : read_binary(bytes));
    return unmapped(header);
  }
  return fail(EPROTO, "the header of the PROXY protocol is missing");
}

Bytes write_proxy_header(ProxyVersion version, const SocketAddress& client,
                         const SocketAddress& local) {
  const bool known = !client.ip.any() && client.ip.family == local.ip.family;
  if (version == ProxyVersion::None) return {};
  return version == ProxyVersion::One ? write_line(known, client, local)
                                      : write_binary(known, client, local);
}

}  // namespace sockmi::proxy
