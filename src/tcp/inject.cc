#include "tcp/inject.h"
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <cstring>
#include "base/unique_fd.h"
#include "tcp/socket_options.h"
namespace sockmi::tcp {
namespace {
std::uint32_t add(std::uint32_t sum, ByteView bytes) {
  std::uint64_t s = sum;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) s += bytes[i] << 8 | bytes[i + 1];
  if (bytes.size() % 2) s += bytes.back() << 8;
  while (s >> 32) s = (s & 0xffffffff) + (s >> 32);
  return s;
}
std::uint16_t fold(std::uint64_t s) { while (s >> 16) s = (s & 0xffff) + (s >> 16); return htons(static_cast<std::uint16_t>(~s)); }
}
Result<> inject_data(const Segment& whole, std::uint32_t mark) {
  unique_fd raw(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
  if (!raw) return fail_errno("raw");
  TRY(set(raw.get(), SOL_SOCKET, SO_MARK, mark, "SO_MARK"));
  std::size_t at = 0;
  do {
    const ByteView data = whole.data.subspan(at, std::min<std::size_t>(32768, whole.data.size() - at));
    const bool last = at + data.size() == whole.data.size();
    Bytes p(40 + data.size());
    auto* ip = reinterpret_cast<iphdr*>(p.data());
    auto* t = reinterpret_cast<std::uint8_t*>(p.data() + 20);
    ip->version = 4; ip->ihl = 5; ip->tot_len = htons(p.size()); ip->ttl = 64; ip->protocol = 6;
    const IpAddress l = whole.tuple.local.ip.unmapped(), r = whole.tuple.remote.ip.unmapped();
    std::memcpy(&ip->saddr, r.bytes.data(), 4); std::memcpy(&ip->daddr, l.bytes.data(), 4);
    const auto put = [&](int off, std::uint32_t v, int n) { while (n--) t[off + n] = v, v >>= 8; };
    put(0, whole.tuple.remote.port, 2); put(2, whole.tuple.local.port, 2); put(4, whole.seq + at, 4); put(8, whole.ack, 4);
    t[12] = 5 << 4; t[13] = 0x18 | (last && whole.fin ? 1 : 0); put(14, whole.window, 2);
    if (!data.empty()) std::memcpy(t + 20, data.data(), data.size());
    std::uint32_t c = add(0, ByteView(p).subspan(12, 8)); c = add(c, ByteView(p).subspan(20)); 
    const std::uint16_t sum = fold(std::uint64_t(c) + 6 + 20 + data.size());
    std::memcpy(t + 16, &sum, 2);
    sockaddr_in to{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {ip->daddr}, .sin_zero = {}};
    if (::sendto(raw.get(), p.data(), p.size(), 0, reinterpret_cast<sockaddr*>(&to), sizeof to) < 0) return fail_errno("inject");
    at += data.size();
  } while (at < whole.data.size());
  return {};
}
}
