// The injected segment has no timestamp option, even if the connection uses timestamps.
// Linux accepts it, while a made-up value could make the peer's own segments look old
// (PAWS).
//
// The raw socket is bound to the loopback device. If the rule for its mark is missing, a
// segment for another host's address would otherwise be sent to that host. Bound to
// loopback, the kernel finds no route and drops the segment.
#include "tcp/inject.h"

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "base/unique_fd.h"
#include "tcp/socket_options.h"

namespace sockmi::tcp {
namespace {

// The ones' complement sum of RFC 1071; `bytes` start at an even offset in the packet.
std::uint64_t sum(ByteView bytes, std::uint64_t so_far = 0) {
  for (; bytes.size() >= 4; bytes = bytes.subspan(4)) {
    std::uint32_t word;
    std::memcpy(&word, bytes.data(), sizeof word);
    so_far += word;
  }
  std::uint32_t rest = 0;
  if (!bytes.empty()) std::memcpy(&rest, bytes.data(), bytes.size());
  return so_far + rest;
}

std::uint16_t folded(std::uint64_t sum) {
  while (sum >> 16)
    sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

template <class T>
ByteView bytes_of(const T& value) {
  return {reinterpret_cast<const std::uint8_t*>(&value), sizeof value};
}

std::uint64_t pseudo_header(const IpAddress& from, const IpAddress& to, std::uint16_t tcp_length) {
  return sum(to.view(), sum(from.view())) + htons(IPPROTO_TCP) + htons(tcp_length);
}

tcphdr tcp_header(const Segment& segment) {
  tcphdr header{};
  header.th_sport = htons(segment.tuple.remote.port);
  header.th_dport = htons(segment.tuple.local.port);
  header.th_seq = htonl(segment.seq);
  header.th_ack = htonl(segment.ack);
  header.th_off = sizeof header / 4;
  header.th_flags = static_cast<std::uint8_t>(TH_ACK | (segment.fin ? TH_FIN : 0) |
                                              (segment.data.empty() ? 0 : TH_PUSH));
  header.th_win = htons(segment.window);
  return header;
}

ip ip4_header(const IpAddress& from, const IpAddress& to, std::size_t length) {
  ip header{};
  header.ip_v = 4;
  header.ip_hl = sizeof header / 4;
  header.ip_len = htons(static_cast<std::uint16_t>(sizeof header + length));
  header.ip_ttl = MAXTTL;
  header.ip_p = IPPROTO_TCP;
  std::memcpy(&header.ip_src, from.bytes.data(), 4);
  std::memcpy(&header.ip_dst, to.bytes.data(), 4);
  header.ip_sum = folded(sum(bytes_of(header)));
  return header;
}

ip6_hdr ip6_header(const IpAddress& from, const IpAddress& to, std::size_t length) {
  ip6_hdr header{};
  header.ip6_vfc = 6 << 4;
  header.ip6_plen = htons(static_cast<std::uint16_t>(length));
  header.ip6_nxt = IPPROTO_TCP;
  header.ip6_hlim = MAXTTL;
  std::memcpy(&header.ip6_src, from.bytes.data(), 16);
  std::memcpy(&header.ip6_dst, to.bytes.data(), 16);
  return header;
}

// Sends a segment through a raw socket that `set_up` prepares.
Result<> send(const Segment& segment, const std::function<Result<>(int)>& set_up) {
  if (segment.data.size() > kLargestSegment)
    return fail(EMSGSIZE, "cannot inject a segment of {} bytes", segment.data.size());
  const IpAddress from = segment.tuple.remote.ip.unmapped(), to = segment.tuple.local.ip.unmapped();
  if (from.family != to.family || from.any()) {
    return fail(EINVAL, "cannot inject a segment from {} to {}: different address families",
                to_string(from), to_string(to));
  }
  const std::size_t length = sizeof(tcphdr) + segment.data.size();
  tcphdr header = tcp_header(segment);
  header.th_sum = folded(pseudo_header(from, to, static_cast<std::uint16_t>(length)) +
                         sum(bytes_of(header)) + sum(segment.data));
  const ip v4 = ip4_header(from, to, length);
  const ip6_hdr v6 = ip6_header(from, to, length);

  const unique_fd raw(::socket(to.family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
  if (!raw) return fail_errno("cannot create a raw socket");
  TRY(set_up(raw.get()));
  sockaddr_storage address;
  const socklen_t size = SocketAddress{to, 0}.to(address);
  const ByteView first = to.family == AF_INET ? bytes_of(v4) : bytes_of(v6);
  const auto part = [](ByteView bytes) {
    return iovec{const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
  };
  iovec parts[] = {part(first), part(bytes_of(header)), part(segment.data)};
  const msghdr message{
      .msg_name = &address, .msg_namelen = size, .msg_iov = parts, .msg_iovlen = std::size(parts)};
  if (::sendmsg(raw.get(), &message, MSG_NOSIGNAL) < 0)
    return fail_errno("cannot send a segment to " + to_string(segment.tuple.local));
  return {};
}

constexpr std::size_t kSmall = 600;

// Returns a size that fills its memory to 60 percent (overhead.h), or all of `rest`.
std::size_t large_piece(std::size_t rest, std::size_t least) {
  std::size_t piece = kLargestSegment;
  while (piece > rest && piece > least)
    piece /= 2;
  return std::min(piece, rest);
}

// The last two segments are small and of equal size. The kernel concludes that the peer
// sends such segments, and measures the peer's own next one.
std::size_t piece_before_measurement(std::size_t rest) {
  if (rest <= 2 * kSmall) return rest == 2 * kSmall ? kSmall : rest;
  return large_piece(rest - 2 * kSmall, 2 * kSmall);
}

// A segment smaller than the peer's is not measured, and no two are of equal size.
std::size_t piece_behind_sample(std::size_t rest) {
  return rest >= kLeastMeasured ? large_piece(rest, kLeastMeasured)
         : rest > 2 * kSmall    ? rest / 2 + 1 + rest % 2
                                : rest;
}

}  // namespace

Result<> inject(const Segment& segment, std::uint32_t mark) {
  return send(segment, [mark](int raw) -> Result<> {
    TRY(set(raw, SOL_SOCKET, SO_MARK, mark, "SO_MARK"));
    if (::setsockopt(raw, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2) != 0)
      return fail_errno("cannot bind to the interface lo");
    return {};
  });
}

Result<> send_to_peer(const Segment& segment) {
  return send(segment, [](int) { return Result<>(); });
}

Result<> inject_data(Segment segment, std::uint32_t mark, Next next) {
  const bool fin = std::exchange(segment.fin, false);
  for (ByteView rest = segment.data;;) {
    segment.data = rest.first(next == Next::IsMeasured ? piece_before_measurement(rest.size())
                                                       : piece_behind_sample(rest.size()));
    rest = rest.subspan(segment.data.size());
    segment.fin = fin && rest.empty();
    TRY(inject(segment, mark));
    if (rest.empty()) return {};
    segment.seq += static_cast<std::uint32_t>(segment.data.size());
  }
}

}  // namespace sockmi::tcp
