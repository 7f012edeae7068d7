// Repair mode stops neither reception nor transmission, so a socket is muted before it is captured (its mark makes steer's rules drop what it
// sends). Two things follow.
//
// What it received after the capture it can not have acknowledged: the peer keeps it and sends it again. Losing such a straggler is harmless;
// handing it on (received_since) only saves the peer the repetition.
//
// What it "sends" while mute never leaves: timers and the small-queue tasklet may still move snd_nxt, and SIOCOUTQNSD then counts bytes as sent
// that the peer never saw. Restored as sent they would wait for a retransmission timeout, so the number of unsent bytes is the one read
// right after the mute, not the one at the capture.
//
// A FIN has a sequence number too. An image's numbers are of bytes only; which FINs follow them, its state tells.
#include "tcp/capture.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "tcp/queues.h"
#include "tcp/socket_options.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {

constexpr int kAttempts = 100;

Result<> can_be_moved(int fd, const Facts& facts) {
  static const IpAddress link_local = *IpAddress::parse("fe80::");
  if (!facts.connected()) return fail(ENOTCONN, "the socket is not connected");
  if (!is_movable(facts.state)) return fail(ENOTSUP, "a connection in state {} does not move", facts.state);
  if (facts.tuple.local.ip.in_prefix(link_local, 10)) return fail(ENOTSUP, "{} is an address of one link only", to_string(facts.tuple.local.ip));
  char name[16] = {};
  socklen_t size = sizeof name;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &size) == 0 && size > 0)
    return fail(ENOTSUP, "the kernel's '{}' is on this connection, and its state can not be read", std::string(name, ::strnlen(name, size)));
  if (is_synchronized(facts.state)) {
    TRY_LET(urgent, has_urgent(fd));
    if (urgent) return fail(ENOTSUP, "urgent data waits in the receive queue");
  }
  return {};
}

// Our FIN counts as outstanding until it is acknowledged.
std::uint32_t less_fin(std::uint32_t bytes, int state) { return bytes - (we_have_finished(state) && bytes > 0 ? 1 : 0); }

}  // namespace

Frozen::Frozen(Frozen&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), facts_(other.facts_), settings_(std::move(other.settings_)), owner_mark_(other.owner_mark_),
      owner_reuse_address_(other.owner_reuse_address_), owner_peek_offset_(other.owner_peek_offset_), never_sent_(other.never_sent_) {}

Frozen::~Frozen() {
  if (fd_ < 0) return;
  if (auto given = give_back(); !given) log::error("event=give_back_failed error=\"{}\"", to_string(given.error()));
}

Result<Frozen> Frozen::freeze(int fd, std::uint32_t mark, Settings settings) {
  Frozen frozen;
  TRY_LET(facts, inspect(fd));
  frozen.facts_ = facts;
  TRY_LET(owner_mark, get<std::uint32_t>(fd, SOL_SOCKET, SO_MARK, "SO_MARK"));
  if (owner_mark == mark) return fail(EBUSY, "the connection is being exported already");
  frozen.owner_mark_ = owner_mark;
  TRY(can_be_moved(fd, facts));
  frozen.settings_ = settings.empty() ? read_settings(fd, facts.tuple.local.ip.family, false) : std::move(settings);
  TRY_LET(reuse, get<int>(fd, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"));
  frozen.owner_reuse_address_ = reuse;
  frozen.owner_peek_offset_ = get<int>(fd, SOL_SOCKET, SO_PEEK_OFF, "SO_PEEK_OFF").value_or(-1);
  TRY(set(fd, SOL_SOCKET, SO_MARK, mark, "SO_MARK"));
  frozen.fd_ = fd;  // from here on the destructor gives it back
  TRY_LET(never_sent, queued(fd, SIOCOUTQNSD, "SIOCOUTQNSD"));
  frozen.never_sent_ = less_fin(never_sent, facts.state);
  if (frozen.owner_peek_offset_ >= 0) TRY(set(fd, SOL_SOCKET, SO_PEEK_OFF, -1, "SO_PEEK_OFF"));
  TRY(set_repair(fd, TCP_REPAIR_ON));
  return frozen;
}

Result<image::TcpT> Frozen::capture() {
  image::TcpT image;
  const auto local = facts_.tuple.local.ip.view(), remote = facts_.tuple.remote.ip.view();
  image.local_ip.assign(local.begin(), local.end());
  image.remote_ip.assign(remote.begin(), remote.end());
  image.local_port = facts_.tuple.local.port;
  image.remote_port = facts_.tuple.remote.port;
  TRY(capture_queues(image));
  TRY_LET(mss, get<int>(fd_, IPPROTO_TCP, TCP_MAXSEG, "TCP_MAXSEG"));
  image.mss = static_cast<std::uint32_t>(mss);
  TRY_LET(timestamp, get<std::uint32_t>(fd_, IPPROTO_TCP, TCP_TIMESTAMP, "TCP_TIMESTAMP"));
  image.timestamp = timestamp;
  image.read_shutdown = !peer_has_finished(image.state) && (poll_now(fd_, POLLRDHUP) & POLLRDHUP);
  image.mark = owner_mark_;
  image.reuse_address = owner_reuse_address_ == 1;
  for (const auto& setting : settings_) image.options.push_back(std::make_unique<image::SocketOptionT>(*setting));
  capture_options(fd_, image);
  return image;
}

Result<> Frozen::capture_queues(image::TcpT& image) {
  for (int attempt = 0;; ++attempt) {
    TRY_LET(info, get<tcp_info>(fd_, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    const int state = info.tcpi_state;
    if (!is_movable(state)) return fail(ECONNRESET, "the connection has ended meanwhile");
    image.state = info.tcpi_state;
    image.negotiated = info.tcpi_options;
    image.snd_wscale = info.tcpi_snd_wscale;
    image.rcv_wscale = info.tcpi_rcv_wscale;
    image.snd_cwnd = info.tcpi_snd_cwnd;
    image.snd_ssthresh = info.tcpi_snd_ssthresh;
    image.srtt_us = info.tcpi_rtt;
    image.idle_ms = info.tcpi_last_data_sent;
    image.rttvar_us = info.tcpi_rttvar;
    image.rcv_ssthresh = info.tcpi_rcv_ssthresh;
    if (state == kSynSent) {
      // Bytes that went with the SYN (fast open) wait in a form that no queue shows.
      if (info.tcpi_unacked > 1) return fail(ENOTSUP, "data was sent with the SYN");
      TRY_LET(snd_seq, queue_sequence(fd_, TCP_SEND_QUEUE));
      if (snd_seq == 1) return fail(ENOTSUP, "the kernel takes an initial sequence number of 0 for none");
      image.snd_seq = snd_seq;
      return select_queue(fd_, TCP_NO_QUEUE);
    }
    // Segments go on coming in. What belongs together is read between two equal sequence numbers; the queues, which take longer, may grow and shrink
    // at their outer ends meanwhile: what more came in is for received_since(), what was acknowledged does no harm to have.
    TRY_LET(rcv_seq, queue_sequence(fd_, TCP_RECV_QUEUE));
    TRY_LET(received, queued(fd_, SIOCINQ, "SIOCINQ"));
    TRY_LET(window, get<tcp_repair_window>(fd_, IPPROTO_TCP, TCP_REPAIR_WINDOW, "TCP_REPAIR_WINDOW"));
    TRY_LET(outstanding, queued(fd_, SIOCOUTQ, "SIOCOUTQ"));
    TRY_LET(after, get<tcp_info>(fd_, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    TRY_LET(rcv_seq_after, queue_sequence(fd_, TCP_RECV_QUEUE));
    const bool steady = rcv_seq == rcv_seq_after && after.tcpi_state == state;
    if (!steady && attempt < kAttempts) continue;
    if (!steady) return fail(EAGAIN, "the socket does not come to rest");
    TRY_LET(receive_queue, peek_received(fd_, received));
    TRY_LET(snd_seq, queue_sequence(fd_, TCP_SEND_QUEUE));
    TRY_LET(send_queue, peek_unacknowledged(fd_, less_fin(outstanding, state)));
    TRY(select_queue(fd_, TCP_NO_QUEUE));
    image.rcv_seq = rcv_seq - peer_has_finished(state);
    image.snd_seq = snd_seq - we_have_finished(state);
    image.receive_queue = std::move(receive_queue);
    image.send_queue = std::move(send_queue);
    image.unsent = std::min<std::uint32_t>(never_sent_, static_cast<std::uint32_t>(image.send_queue.size()));
    image.window = std::make_unique<image::Window>(window.snd_wl1, window.snd_wnd, window.max_window, window.rcv_wnd, window.rcv_wup);
    return {};
  }
}

Result<bool> Frozen::still_stands(const image::TcpT& image) {
  TRY_LET(late, received_since(image));
  return late.empty();
}

Result<Late> Frozen::received_since(const image::TcpT& image) {
  auto late = peek_late(image);
  TRY(select_queue(fd_, TCP_NO_QUEUE));
  return late;
}

// The state says whether the peer's FIN is among the sequence numbers: both have to be of the same moment.
Result<Late> Frozen::peek_late(const image::TcpT& image) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    TRY_LET(info, get<tcp_info>(fd_, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    const int state = info.tcpi_state;
    const bool closed = state == kClose;
    if (closed && (poll_now(fd_, 0) & POLLERR)) return fail(ECONNRESET, "the connection has ended meanwhile");
    if (image.state == kSynSent) return state == kSynSent ? Result<Late>(Late()) : fail(EAGAIN, "the peer has answered our SYN");
    TRY_LET(sequence, queue_sequence(fd_, TCP_RECV_QUEUE));
    if (state == image.state && sequence == image.rcv_seq + peer_has_finished(state)) return Late{};  // nearly always
    TRY_LET(received, queued(fd_, SIOCINQ, "SIOCINQ"));
    TRY_LET(sequence_after, queue_sequence(fd_, TCP_RECV_QUEUE));
    TRY_LET(after, get<tcp_info>(fd_, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    if (sequence != sequence_after || after.tcpi_state != state) continue;
    // Without an error, a connection is closed by both FINs.
    const bool fin = !peer_has_finished(image.state) && (closed || peer_has_finished(state));
    const std::uint32_t size = sequence - image.rcv_seq - (fin || peer_has_finished(image.state));
    if (size == 0) return Late{.fin = fin};
    TRY_LET(urgent, has_urgent(fd_));
    if (urgent) return fail(ENOTSUP, "urgent data has come in");
    if (size > received) return fail(EIO, "{} bytes have come in, and {} are there", size, received);
    TRY_LET(bytes, peek_received(fd_, received));
    bytes.erase(bytes.begin(), bytes.end() - size);
    return Late{.bytes = std::move(bytes), .fin = fin};
  }
  return fail(EAGAIN, "the socket does not come to rest");
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
  if (owner_peek_offset_ >= 0) TRY(set(fd, SOL_SOCKET, SO_PEEK_OFF, owner_peek_offset_, "SO_PEEK_OFF"));
  return set(fd, SOL_SOCKET, SO_REUSEADDR, int(owner_reuse_address_ == 1), "SO_REUSEADDR");
}

}  // namespace sockmi::tcp
