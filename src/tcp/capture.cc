// Repair mode stops neither reception nor transmission, so a socket is muted before it is captured (its mark makes steer's rules drop what it
// sends and is sent). Two things follow.
//
// What it received after the capture it can not have acknowledged: the peer keeps it and sends it again. Losing such a straggler is harmless.
//
// What it "sends" while mute never leaves: timers and the small-queue tasklet may still move snd_nxt, and SIOCOUTQNSD then counts bytes as sent
// that the peer never saw. Restored as sent they would wait for a retransmission timeout, so the number of unsent bytes is the one read
// right after the mute, not the one at the capture.
#include "tcp/capture.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include <cstring>
#include <utility>

#include "base/log.h"
#include "tcp/inspect.h"
#include "tcp/socket_options.h"

namespace sockmi::tcp {
namespace {

constexpr int kEstablished = 1;  // netinet/tcp.h has the name, but can not be included beside linux/tcp.h
constexpr int kAttempts = 10;
constexpr std::size_t kSegment = 64 << 10, kLargestSegment = 1 << 20;

Result<std::uint32_t> queued(int fd, unsigned long request, const char* what) {
  int bytes = 0;
  if (::ioctl(fd, request, &bytes) != 0) return fail_errno(what);
  return static_cast<std::uint32_t>(bytes);
}

// The last `size` bytes of the selected queue; EAGAIN if it moves under our hands. A peek at the send queue may begin with bytes that are
// acknowledged already, where the acknowledgement ends inside a segment: the kernel keeps the segment whole.
Result<std::vector<std::uint8_t>> peek(int fd, std::uint32_t size) {
  if (size == 0) return std::vector<std::uint8_t>();
  for (std::size_t room = kSegment;; room *= 2) {
    std::vector<std::uint8_t> bytes(size + room);
    const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
    if (got < 0) return fail_errno("peeking at a queue");
    if (got < static_cast<ssize_t>(size)) return fail(EAGAIN, "a queue moved");
    if (got == static_cast<ssize_t>(bytes.size()) && room < kLargestSegment) continue;
    bytes.resize(static_cast<std::size_t>(got));
    bytes.erase(bytes.begin(), bytes.end() - size);
    return bytes;
  }
}

// A byte of urgent data is skipped by a peek, and would be lost: SIOCINQ then differs with and without SO_OOBINLINE.
Result<bool> has_urgent(int fd) {
  TRY_LET(before, get<int>(fd, SOL_SOCKET, SO_OOBINLINE, "SO_OOBINLINE"));
  TRY_LET(one, queued(fd, SIOCINQ, "SIOCINQ"));
  TRY(set(fd, SOL_SOCKET, SO_OOBINLINE, int(!before), "SO_OOBINLINE"));
  auto other = queued(fd, SIOCINQ, "SIOCINQ");
  TRY(set(fd, SOL_SOCKET, SO_OOBINLINE, before, "SO_OOBINLINE"));
  if (!other) return pass(std::move(other));
  return one != *other;
}

}  // namespace

Frozen::Frozen(Frozen&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), owner_mark_(other.owner_mark_), owner_reuse_address_(other.owner_reuse_address_),
      never_sent_(other.never_sent_) {}

Frozen::~Frozen() {
  if (fd_ < 0) return;
  if (auto given = give_back(); !given) log::error("event=give_back_failed error=\"{}\"", to_string(given.error()));
}

Result<Frozen> Frozen::freeze(int fd, std::uint32_t mark) {
  TRY_LET(facts, inspect(fd));
  if (facts.state != kEstablished) return fail(ENOTSUP, "the connection is closing (state {})", facts.state);
  TRY_LET(owner_mark, get<std::uint32_t>(fd, SOL_SOCKET, SO_MARK, "SO_MARK"));
  if (owner_mark == mark) return fail(EBUSY, "the connection is being exported already");
  TRY_LET(reuse, get<int>(fd, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"));
  Frozen frozen(-1);
  frozen.owner_mark_ = owner_mark;
  frozen.owner_reuse_address_ = reuse;
  TRY(set(fd, SOL_SOCKET, SO_MARK, mark, "SO_MARK"));
  frozen.fd_ = fd;  // from here on the destructor gives it back
  TRY_LET(never_sent, queued(fd, SIOCOUTQNSD, "SIOCOUTQNSD"));
  frozen.never_sent_ = never_sent;
  TRY_LET(urgent, has_urgent(fd));
  if (urgent) return fail(ENOTSUP, "urgent data waits in the receive queue");
  TRY(set_repair(fd, TCP_REPAIR_ON));
  return frozen;
}

Result<image::TcpT> Frozen::capture() {
  image::TcpT image;
  TRY_LET(facts, inspect(fd_));
  const auto local = facts.tuple.local.ip.view(), remote = facts.tuple.remote.ip.view();
  image.local_ip.assign(local.begin(), local.end());
  image.remote_ip.assign(remote.begin(), remote.end());
  image.local_port = facts.tuple.local.port;
  image.remote_port = facts.tuple.remote.port;
  for (int attempt = 0;; ++attempt) {
    TRY_LET(info, get<tcp_info>(fd_, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    if (info.tcpi_state != kEstablished) return fail(ENOTSUP, "the connection is closing (state {})", info.tcpi_state);
    image.state = info.tcpi_state;
    image.negotiated = info.tcpi_options;
    image.snd_wscale = info.tcpi_snd_wscale;
    image.rcv_wscale = info.tcpi_rcv_wscale;
    TRY_LET(received, queued(fd_, SIOCINQ, "SIOCINQ"));
    TRY_LET(unacknowledged, queued(fd_, SIOCOUTQ, "SIOCOUTQ"));
    TRY_LET(rcv_seq, queue_sequence(fd_, TCP_RECV_QUEUE));
    auto receive_queue = peek(fd_, received);
    TRY_LET(snd_seq, queue_sequence(fd_, TCP_SEND_QUEUE));
    auto send_queue = peek(fd_, unacknowledged);
    TRY(select_queue(fd_, TCP_NO_QUEUE));
    // The window comes last: a peek may make the kernel acknowledge, which moves it.
    TRY_LET(window, get<tcp_repair_window>(fd_, IPPROTO_TCP, TCP_REPAIR_WINDOW, "TCP_REPAIR_WINDOW"));
    TRY_LET(received_after, queued(fd_, SIOCINQ, "SIOCINQ"));
    TRY_LET(unacknowledged_after, queued(fd_, SIOCOUTQ, "SIOCOUTQ"));
    const bool steady = receive_queue && send_queue && received == received_after && unacknowledged == unacknowledged_after;
    if (!steady && attempt < kAttempts) continue;
    if (!steady) return fail(EAGAIN, "the socket does not come to rest");
    image.rcv_seq = rcv_seq;
    image.snd_seq = snd_seq;
    image.receive_queue = std::move(*receive_queue);
    image.send_queue = std::move(*send_queue);
    image.unsent = std::min(never_sent_, unacknowledged);
    image.window = std::make_unique<image::Window>(window.snd_wl1, window.snd_wnd, window.max_window, window.rcv_wnd, window.rcv_wup);
    break;
  }
  TRY_LET(mss, get<int>(fd_, IPPROTO_TCP, TCP_MAXSEG, "TCP_MAXSEG"));
  image.mss = static_cast<std::uint32_t>(mss);
  TRY_LET(timestamp, get<std::uint32_t>(fd_, IPPROTO_TCP, TCP_TIMESTAMP, "TCP_TIMESTAMP"));
  image.timestamp = timestamp;
  char congestion[17] = {};
  socklen_t size = 16;
  if (::getsockopt(fd_, IPPROTO_TCP, TCP_CONGESTION, congestion, &size) == 0) image.congestion = congestion;
  image.mark = owner_mark_;
  image.reuse_address = owner_reuse_address_ == 1;
  capture_options(fd_, image);
  return image;
}

Result<Late> Frozen::received_since(const image::TcpT& image) {
  TRY_LET(sequence, queue_sequence(fd_, TCP_RECV_QUEUE));
  const std::uint32_t size = sequence - image.rcv_seq;
  TRY_LET(received, queued(fd_, SIOCINQ, "SIOCINQ"));
  Late late;
  if (size > 0) {
    TRY_LET(bytes, peek(fd_, received));
    late.bytes.assign(bytes.end() - size, bytes.end());
  }
  TRY(select_queue(fd_, TCP_NO_QUEUE));
  return late;
}

Result<bool> Frozen::still_stands(const image::TcpT& image) {
  TRY_LET(sequence, queue_sequence(fd_, TCP_RECV_QUEUE));
  TRY(select_queue(fd_, TCP_NO_QUEUE));
  return sequence == image.rcv_seq;
}

Result<> Frozen::kill() {
  // close(2) in repair mode would be silent too, but a duplicate of the descriptor would live on and go on acknowledging.
  const sockaddr none{.sa_family = AF_UNSPEC};
  if (::connect(fd_, &none, sizeof none) != 0) return fail_errno("disconnecting silently");
  const int fd = std::exchange(fd_, -1);
  return set_repair(fd, TCP_REPAIR_OFF_NO_WP);
}

Result<> Frozen::give_back() {
  const int fd = std::exchange(fd_, -1);
  TRY(set(fd, SOL_SOCKET, SO_MARK, owner_mark_, "SO_MARK"));
  TRY(set_repair(fd, TCP_REPAIR_OFF));
  return set(fd, SOL_SOCKET, SO_REUSEADDR, int(owner_reuse_address_ == 1), "SO_REUSEADDR");
}

}  // namespace sockmi::tcp
