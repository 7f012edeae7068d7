#include "tcp/queues.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <memory>

#include "tcp/socket_options.h"

namespace sockmi::tcp {
namespace {

constexpr std::size_t kPrefix = 64 << 10, kLargestPrefix = 1 << 20;

}  // namespace

Result<std::uint32_t> queued(int fd, unsigned long request, const char* what) {
  int bytes = 0;
  if (::ioctl(fd, request, &bytes) != 0) return fail_errno(std::string("cannot read ") + what);
  return static_cast<std::uint32_t>(bytes);
}

Result<Bytes> peek_received(int fd, std::uint32_t size) {
  Bytes bytes(size);
  if (size == 0) return bytes;
  const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  if (got < 0) return fail_errno("cannot read the receive queue");
  if (got < static_cast<ssize_t>(size))
    return fail(EAGAIN, "receive queue keeps changing; try again");
  return bytes;
}

// Older kernels have no SO_PEEK_OFF for TCP, or not for IPv6. There the whole queue must
// be read.
Result<Bytes> peek_received_behind(int fd, std::uint32_t skipped, std::uint32_t size) {
  const bool skips = skipped > 0 && skipped < size &&
                     set(fd, SOL_SOCKET, SO_PEEK_OFF, static_cast<int>(skipped), "SO_PEEK_OFF");
  auto bytes =
      skipped < size ? peek_received(fd, skips ? size - skipped : size) : Result<Bytes>(Bytes());
  if (skips) {
    TRY(set(fd, SOL_SOCKET, SO_PEEK_OFF, -1, "SO_PEEK_OFF"));
  } else if (bytes && !bytes->empty()) {
    bytes->erase(bytes->begin(), bytes->begin() + skipped);
  }
  return bytes;
}

// The queue may begin with bytes that are already acknowledged, if the acknowledgement
// ends inside a segment: the kernel keeps the segment whole. They displace as many bytes
// at the end into `rest`.
Result<Bytes> peek_unacknowledged(int fd, std::uint32_t size) {
  Bytes bytes(size);
  if (size == 0) return bytes;
  for (std::size_t room = kPrefix;; room *= 2) {
    const auto rest = std::make_unique_for_overwrite<std::uint8_t[]>(room);
    iovec parts[] = {{bytes.data(), bytes.size()}, {rest.get(), room}};
    msghdr message{.msg_iov = parts, .msg_iovlen = 2};
    const ssize_t got = ::recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0) return fail_errno("cannot read the send queue");
    if (got < static_cast<ssize_t>(size)) {
      bytes.resize(static_cast<std::size_t>(got));  // more was acknowledged in the meantime
      return bytes;
    }
    const std::size_t prefix = static_cast<std::size_t>(got) - size;
    if (prefix >= room && room < kLargestPrefix) continue;
    // The kernel returns the full length, regardless of how much of it fit.
    if (prefix > room) return fail(EAGAIN, "send queue keeps changing; try again");
    const std::size_t kept = size - std::min<std::size_t>(size, prefix);
    std::copy(bytes.end() - static_cast<std::ptrdiff_t>(kept), bytes.end(), bytes.begin());
    std::copy_n(rest.get() + prefix - (size - kept), size - kept,
                bytes.end() - static_cast<std::ptrdiff_t>(size - kept));
    return bytes;
  }
}

Result<> fill(int fd, int queue, ByteView bytes) {
  if (bytes.empty()) return {};
  TRY(select_queue(fd, queue));
  std::size_t piece = bytes.size();
  while (!bytes.empty()) {
    const ssize_t sent =
        ::send(fd, bytes.data(), std::min(piece, bytes.size()), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    } else if (errno == ENOMEM && piece > 1024) {
      piece /= 2;  // one big allocation may fail where smaller ones succeed
    } else {
      return fail_errno("cannot refill a queue");
    }
  }
  return {};
}

Result<> skip_received(int fd, std::uint32_t size) {
  while (size > 0) {
    const ssize_t got = ::recv(fd, nullptr, size, MSG_TRUNC | MSG_DONTWAIT);
    if (got <= 0) {
      return got < 0
                 ? fail_errno("cannot skip what was read")
                 : fail(ENODATA, "cannot skip {} bytes that were read: they are not there", size);
    }
    size -= static_cast<std::uint32_t>(got);
  }
  return {};
}

// SIOCINQ ends before an urgent byte, unless that byte is kept in line. The two counts
// can be compared only if nothing arrives in between (tcpi_bytes_received) and nobody
// reads. Otherwise, one byte in and one byte out between two looks at the queue hide an
// urgent byte, or simulate one.
Result<bool> has_urgent(int fd) {
  TRY_LET(kept, get<int>(fd, SOL_SOCKET, SO_OOBINLINE, "SO_OOBINLINE"));
  for (int attempt = 0; attempt < kMaxReadings; ++attempt) {
    TRY_LET(received_before, get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    TRY_LET(before, queued(fd, SIOCINQ, "SIOCINQ"));
    TRY(set(fd, SOL_SOCKET, SO_OOBINLINE, int(!kept), "SO_OOBINLINE"));
    auto other = queued(fd, SIOCINQ, "SIOCINQ");
    TRY(set(fd, SOL_SOCKET, SO_OOBINLINE, kept, "SO_OOBINLINE"));
    if (!other) return pass(std::move(other));
    TRY_LET(after, queued(fd, SIOCINQ, "SIOCINQ"));
    TRY_LET(received_after, get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    if (before == after &&
        received_before.tcpi_bytes_received == received_after.tcpi_bytes_received)
      return *other != before;
  }
  return fail(EAGAIN, "receive queue keeps changing; try again");
}

}  // namespace sockmi::tcp
