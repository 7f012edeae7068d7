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
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/unique_fd.h"
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

// Of another network namespace, or bound to another device: it is not.
Result<bool> is_reachable_by_loopback(int fd) {
  char device[IFNAMSIZ] = {};
  socklen_t size = sizeof device;
  if (::getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, &size) == 0 && size > 0) return false;
  const unique_fd here(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const unique_fd its(::ioctl(fd, SIOCGSKNS)), ours(::ioctl(here.get(), SIOCGSKNS));
  struct stat one {}, other {};
  if (::fstat(its.get(), &one) != 0 || ::fstat(ours.get(), &other) != 0) return fail_errno("the socket's network namespace");
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

// Our FIN counts as outstanding until it is acknowledged.
std::uint32_t less_fin(std::uint32_t bytes, int state) { return bytes - (we_have_finished(state) && bytes > 0 ? 1 : 0); }

}  // namespace

Frozen::Frozen(Frozen&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), marks_(other.marks_), facts_(other.facts_), settings_(std::move(other.settings_)), owner_(other.owner_),
      never_sent_(other.never_sent_), all_acknowledged_(other.all_acknowledged_) {}

Frozen::~Frozen() {
  if (fd_ < 0) return;
  if (auto given = give_back(); !given) log::error("event=give_back_failed error=\"{}\"", to_string(given.error()));
}

Result<Owner> Owner::of(int fd) {
  TRY_LET(mark, get<std::uint32_t>(fd, SOL_SOCKET, SO_MARK, "SO_MARK"));
  TRY_LET(reuse_address, get<int>(fd, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"));
  return Owner{mark, reuse_address, get<int>(fd, SOL_SOCKET, SO_PEEK_OFF, "SO_PEEK_OFF").value_or(-1)};
}

Result<Frozen> Frozen::freeze(int fd, Marks marks) {
  TRY_LET(owner, Owner::of(fd));
  return freeze(fd, owner, marks);
}

Result<Frozen> Frozen::freeze(int fd, const Owner& owner, Marks marks, Settings settings) {
  Frozen frozen(-1, owner, marks);
  TRY_LET(facts, inspect(fd));
  frozen.facts_ = facts;
  if (owner.mark == marks.freeze) return fail(EBUSY, "the connection is being exported already");
  TRY(can_be_moved(fd, facts));
  frozen.settings_ = settings.empty() ? read_settings(fd, facts.tuple.local.ip.family, false) : std::move(settings);
  TRY(set(fd, SOL_SOCKET, SO_MARK, marks.freeze, "SO_MARK"));
  frozen.fd_ = fd;  // from here on the destructor gives it back
  TRY_LET(never_sent, queued(fd, SIOCOUTQNSD, "SIOCOUTQNSD"));
  frozen.never_sent_ = less_fin(never_sent, facts.state);
  if (owner.peek_offset >= 0) TRY(set(fd, SOL_SOCKET, SO_PEEK_OFF, -1, "SO_PEEK_OFF"));
  TRY(set_repair(fd, TCP_REPAIR_ON));
  return frozen;
}

Result<Frozen> Frozen::resume(int fd, const Owner& owner, Marks marks) {
  TRY_LET(now, get<std::uint32_t>(fd, SOL_SOCKET, SO_MARK, "SO_MARK"));
  if (now != marks.freeze) return fail(ENOENT, "the socket is not frozen");
  return Frozen(fd, owner, marks);
}

Result<image::TcpT> Frozen::capture(Ahead* ahead) {
  image::TcpT image;
  const auto local = facts_.tuple.local.ip.view(), remote = facts_.tuple.remote.ip.view();
  image.local_ip.assign(local.begin(), local.end());
  image.remote_ip.assign(remote.begin(), remote.end());
  image.local_port = facts_.tuple.local.port;
  image.remote_port = facts_.tuple.remote.port;
  TRY(capture_queues(image, ahead));
  TRY_LET(mss, get<int>(fd_, IPPROTO_TCP, TCP_MAXSEG, "TCP_MAXSEG"));
  image.mss = static_cast<std::uint32_t>(mss);
  TRY_LET(timestamp, get<std::uint32_t>(fd_, IPPROTO_TCP, TCP_TIMESTAMP, "TCP_TIMESTAMP"));
  image.timestamp = timestamp;
  image.read_shutdown = !peer_has_finished(image.state) && (poll_now(fd_, POLLRDHUP) & POLLRDHUP);
  image.mark = owner_.mark;
  image.reuse_address = owner_.reuse_address == 1;
  for (const auto& setting : settings_) image.options.push_back(std::make_unique<image::SocketOptionT>(*setting));
  capture_options(fd_, image);
  return image;
}

Result<> Frozen::capture_queues(image::TcpT& image, Ahead* ahead) {
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
    if (poll_now(fd_, POLLPRI) & POLLPRI) return fail(ENOTSUP, "urgent data has come in");
    const std::uint64_t end = after.tcpi_bytes_received - peer_has_finished(state);
    TRY_LET(receive_queue, peek_received_behind(fd_, ahead ? ahead->keep(end - received, end) : 0, received));
    TRY_LET(snd_seq, queue_sequence(fd_, TCP_SEND_QUEUE));
    TRY_LET(send_queue, peek_unacknowledged(fd_, less_fin(outstanding, state)));
    TRY(select_queue(fd_, TCP_NO_QUEUE));
    image.rcv_seq = rcv_seq - peer_has_finished(state);
    image.snd_seq = snd_seq - we_have_finished(state);
    image.receive_queue = std::move(receive_queue);
    image.send_queue = std::move(send_queue);
    // As acknowledged counts what a mute socket "sent", too: so only if nothing has come since we looked, before the freeze.
    all_acknowledged_ = state == kEstablished && window.rcv_wup == rcv_seq && after.tcpi_bytes_received == facts_.received;
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
  if (late) TRY(heard_last(image, *late));
  if (late) late->all_acknowledged = all_acknowledged_;
  return late;
}

// A FIN of ours is sent again anyway, and acknowledged with all that is before it.
Result<> Frozen::heard_last(const image::TcpT& image, Late& late) {
  if (image.send_queue.empty() || we_have_finished(image.state)) return {};
  TRY_LET(outstanding, queued(fd_, SIOCOUTQ, "SIOCOUTQ"));
  const auto sent = static_cast<std::uint32_t>(image.send_queue.size()) - image.unsent;
  if (outstanding <= image.unsent) late.acked = sent;
  TRY_LET(now, get<tcp_repair_window>(fd_, IPPROTO_TCP, TCP_REPAIR_WINDOW, "TCP_REPAIR_WINDOW"));
  if (image.unsent > 0 && now.snd_wnd > image.window->snd_wnd()) late.window = now.snd_wnd;
  return {};
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
    TRY_LET(bytes, peek_received_behind(fd_, received - size, received));
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
  const auto old = old_segment(), last = last_acknowledgement();
  const int fd = std::exchange(fd_, -1);
  TRY(set(fd, SOL_SOCKET, SO_MARK, owner_.mark, "SO_MARK"));
  TRY(set_repair(fd, TCP_REPAIR_OFF));
  if (owner_.peek_offset >= 0) TRY(set(fd, SOL_SOCKET, SO_PEEK_OFF, owner_.peek_offset, "SO_PEEK_OFF"));
  TRY(set(fd, SOL_SOCKET, SO_REUSEADDR, int(owner_.reuse_address == 1), "SO_REUSEADDR"));
  Result<> acknowledged;
  if (!old) acknowledged = std::unexpected(old.error());
  else if (*old) acknowledged = inject(**old, marks_.inject);
  else if (last && *last) acknowledged = speak(**last);
  if (!acknowledged) log::warn("event=not_acknowledged error=\"{}\"", to_string(acknowledged.error()));
  return {};
}

// If both FINs came while we were mute, what is left of the connection is the kernel's own (TIME_WAIT), and mute until it ends: the peer would repeat
// its FIN. So the acknowledgement is ours.
Result<std::optional<Segment>> Frozen::last_acknowledgement() const {
  const bool waited = is_synchronized(facts_.state) && !peer_has_finished(facts_.state);
  const auto info = get<tcp_info>(fd_, IPPROTO_TCP, TCP_INFO, "TCP_INFO");
  if (!waited || !info || info->tcpi_state != kClose || (poll_now(fd_, 0) & POLLERR)) return std::nullopt;
  TRY_LET(snd_seq, queue_sequence(fd_, TCP_SEND_QUEUE));
  TRY_LET(rcv_seq, queue_sequence(fd_, TCP_RECV_QUEUE));
  TRY(select_queue(fd_, TCP_NO_QUEUE));
  return Segment{.tuple = {facts_.tuple.remote, facts_.tuple.local}, .seq = snd_seq, .ack = rcv_seq};
}

// What makes the socket acknowledge everything, as at the end of a move (see Restored::acknowledge()). It carries a byte: what has none is answered
// but twice a second, and exports may fail one after the other. The answer speaks of a repetition (D-SACK), which the peer, who knows of none,
// makes nothing of. None if no such segment would find the socket: the kernel would refuse it to the peer, by an RST that has `ack` as its number;
// should that happen all the same, the number is one that the peer does not take.
Result<std::optional<Segment>> Frozen::old_segment() const {
  static const std::uint8_t kByte[1] = {};
  const auto facts = inspect(fd_);
  if (!facts || !is_synchronized(facts->state)) return std::nullopt;  // it may have ended
  TRY_LET(reachable, is_reachable_by_loopback(fd_));
  if (!reachable) return std::nullopt;
  TRY_LET(window, get<tcp_repair_window>(fd_, IPPROTO_TCP, TCP_REPAIR_WINDOW, "TCP_REPAIR_WINDOW"));
  TRY_LET(snd_seq, queue_sequence(fd_, TCP_SEND_QUEUE));
  TRY_LET(outstanding, queued(fd_, SIOCOUTQ, "SIOCOUTQ"));
  TRY(select_queue(fd_, TCP_NO_QUEUE));
  return Segment{.tuple = facts->tuple, .seq = window.rcv_wup - 2, .ack = snd_seq - outstanding - 1, .data = kByte};
}

}  // namespace sockmi::tcp
