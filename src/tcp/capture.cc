// Captures a frozen socket.
//
// Repair mode stops neither reception nor transmission. So the output of a socket is
// blocked before the socket is captured (its mark makes steer's rules drop what it
// sends). Two consequences:
//
// - What the socket received after the capture, it cannot have acknowledged, so the peer
//   keeps it and sends it again. Losing such data is harmless; passing it on
//   (received_since()) only saves the peer the retransmission.
// - What the socket "sends" while it is frozen never leaves. Timers and the small-queue
//   tasklet may still advance snd_nxt, and SIOCOUTQNSD then counts bytes as sent that the
//   peer never received. If these bytes were restored as sent, they would wait for a
//   retransmission timeout. So the unsent part is computed from what had been sent right
//   after the freeze, not at the capture.
//
// Where outside_repair.h can capture the socket, repair mode is on only to learn the
// sequence numbers, before hold(). For all other sockets:
//
// - Other threads may write and read all the time. In repair mode, send(2) puts bytes
//   into the queue that is selected: into the receive queue, as if the peer had sent
//   them, if that queue is selected. So the receive queue is never selected while another
//   thread could write. The sequence number of the received data comes from the probe
//   that ends repair mode, and the unread data from a plain peek.
// - Bytes behind the image's send queue are sent after it: see capture_delta.cc.
//
// A FIN has a sequence number too. The sequence numbers in an image are those of bytes
// only; the image's state says which FINs follow them.
#include "tcp/capture.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <utility>

#include "base/address_scope.h"
#include "base/log.h"
#include "tcp/old_segment.h"
#include "tcp/outside_repair.h"
#include "tcp/queues.h"
#include "tcp/send_queue.h"
#include "tcp/socket_options.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {

Result<> can_be_moved(int fd, const SocketInfo& facts) {
  if (!facts.connected()) return fail(ENOTCONN, "socket is not connected");
  if (!is_movable(facts.state))
    return fail(ENOTSUP, "cannot move a connection in state {}", facts.state);
  if (is_link_local(facts.tuple.local.ip)) {
    return fail(ENOTSUP, "cannot move {}: it is an address of one link only",
                to_string(facts.tuple.local.ip));
  }
  char name[16] = {};
  socklen_t size = sizeof name;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_ULP, name, &size) == 0 && size > 0) {
    return fail(ENOTSUP, "cannot read the state of the kernel's '{}', which this connection uses",
                std::string(name, ::strnlen(name, size)));
  }
  if (is_synchronized(facts.state)) {
    TRY_LET(urgent, has_urgent(fd));
    if (urgent) return fail(ENOTSUP, "cannot move urgent data, which waits in the receive queue");
  }
  return {};
}

}  // namespace

FrozenSocket::FrozenSocket(FrozenSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      marks_(other.marks_),
      facts_(other.facts_),
      settings_(std::move(other.settings_)),
      owner_(other.owner_),
      history_(other.history_),
      known_(other.known_) {}

FrozenSocket::~FrozenSocket() {
  if (fd_ < 0) return;
  if (auto given = unfreeze(); !given)
    log::error("socket_unfreeze_failed", {{"connection", facts_.tuple}, {"error", given.error()}});
}

Result<OriginalOptions> OriginalOptions::of(int fd) {
  TRY_LET(mark, get<std::uint32_t>(fd, SOL_SOCKET, SO_MARK, "SO_MARK"));
  TRY_LET(reuse_address, get<int>(fd, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"));
  return OriginalOptions{mark, reuse_address,
                         get<int>(fd, SOL_SOCKET, SO_PEEK_OFF, "SO_PEEK_OFF").value_or(-1)};
}

Result<FrozenSocket> FrozenSocket::freeze(int fd, Marks marks) {
  TRY_LET(owner, OriginalOptions::of(fd));
  return freeze(fd, owner, marks);
}

Result<FrozenSocket> FrozenSocket::freeze(int fd, const OriginalOptions& owner, Marks marks,
                                          Settings settings, const History& history) {
  FrozenSocket frozen(-1, owner, marks);
  frozen.history_ = history;
  TRY_LET(facts, socket_info(fd));
  frozen.facts_ = facts;
  // `owner` may have been read before another freeze.
  TRY_LET(mark, get<std::uint32_t>(fd, SOL_SOCKET, SO_MARK, "SO_MARK"));
  if (mark == marks.freeze || owner.mark == marks.freeze)
    return fail(EBUSY, "connection is being exported already");
  TRY(can_be_moved(fd, facts));
  frozen.settings_ = settings.empty() ? read_settings(fd, facts.tuple.local.ip.family, false)
                                      : std::move(settings);
  TRY(set(fd, SOL_SOCKET, SO_MARK, marks.freeze, "SO_MARK"));
  frozen.fd_ = fd;  // from here on the destructor unfreezes it
  if (owner.peek_offset >= 0) TRY(set(fd, SOL_SOCKET, SO_PEEK_OFF, -1, "SO_PEEK_OFF"));
  if (frozen.stay_outside()) return frozen;
  TRY(set_repair(fd, TCP_REPAIR_ON));
  TRY(frozen.remember());
  TRY(set_repair(fd, TCP_REPAIR_OFF_NO_WP));
  return frozen;
}

// Tries to work without repair mode. Until the sequence numbers are learned, nothing
// changes what the socket knows about its last acknowledgement. The probe counts as an
// acknowledgement, but it does not reach the peer.
bool FrozenSocket::stay_outside() {
  if (facts_.state != kEstablished || !can_stay_outside(fd_, history_.in_use)) return false;
  const auto sent = look_at_sent(fd_);
  if (!sent) return false;
  known_.sent = *sent;
  known_.outside = history_.sequences && history_.sequences->match(fd_);
  if (known_.outside) return true;
  const auto sequences = Sequences::learn(fd_, known_.announced);
  if (known_.announced) known_.announced_up_to = known_.announced->rcv_wup();
  known_.outside = sequences.has_value();
  history_.sequences = sequences ? std::optional(*sequences) : std::nullopt;
  return known_.outside;
}

// Remembers what had been sent and acknowledged, in a moment in which nobody writes and
// nothing is acknowledged.
Result<> FrozenSocket::remember() {
  if (known_.announced) return {};  // it is known already
  TRY_LET(window, get<tcp_repair_window>(fd_, IPPROTO_TCP, TCP_REPAIR_WINDOW, "TCP_REPAIR_WINDOW"));
  known_.announced_up_to = window.rcv_wup;
  for (int attempt = 0; attempt < kMaxReadings; ++attempt) {
    TRY_LET(before, get<tcp_info>(fd_, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    TRY_LET(outstanding, queued(fd_, SIOCOUTQ, "SIOCOUTQ"));
    TRY_LET(unsent, queued(fd_, SIOCOUTQNSD, "SIOCOUTQNSD"));
    TRY_LET(outstanding_after, queued(fd_, SIOCOUTQ, "SIOCOUTQ"));
    TRY_LET(after, get<tcp_info>(fd_, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    if (before.tcpi_bytes_acked != after.tcpi_bytes_acked || outstanding != outstanding_after)
      continue;
    known_.sent = after.tcpi_bytes_acked + outstanding - unsent;
    return {};
  }
  return fail(EAGAIN, "socket keeps changing; try again");
}

Result<FrozenSocket> FrozenSocket::resume(int fd, const OriginalOptions& owner, Marks marks) {
  TRY_LET(now, get<std::uint32_t>(fd, SOL_SOCKET, SO_MARK, "SO_MARK"));
  if (now != marks.freeze) return fail(ENOENT, "socket is not frozen");
  return FrozenSocket(fd, owner, marks);
}

Result<wire::TcpT> FrozenSocket::capture(PreCopyRange* pre_copied) {
  wire::TcpT image;
  const auto local = facts_.tuple.local.ip.view(), remote = facts_.tuple.remote.ip.view();
  image.local_ip.assign(local.begin(), local.end());
  image.remote_ip.assign(remote.begin(), remote.end());
  image.local_port = facts_.tuple.local.port;
  image.remote_port = facts_.tuple.remote.port;
  TRY_LET(outside, capture_outside_repair(image, pre_copied));
  if (!outside) {
    TRY(set_repair(fd_, TCP_REPAIR_ON));
    TRY(capture_queues(image, pre_copied));
    TRY_LET(mss, get<int>(fd_, IPPROTO_TCP, TCP_MAXSEG, "TCP_MAXSEG"));
    image.mss = static_cast<std::uint32_t>(mss);
    TRY(set_repair(fd_, TCP_REPAIR_OFF_NO_WP));
  }
  TRY_LET(timestamp, get<std::uint32_t>(fd_, IPPROTO_TCP, TCP_TIMESTAMP, "TCP_TIMESTAMP"));
  image.timestamp = timestamp;
  image.read_shutdown = !peer_has_finished(image.state) && (poll_now(fd_, POLLRDHUP) & POLLRDHUP);
  image.mark = owner_.mark;
  image.reuse_address = owner_.reuse_address == 1;
  for (const auto& setting : settings_)
    image.options.push_back(std::make_unique<wire::SocketOptionT>(*setting));
  capture_options(fd_, image);
  return image;
}

// Captures everything but the send queue; the image's send queue ends where it begins.
Result<bool> FrozenSocket::capture_outside_repair(wire::TcpT& image, PreCopyRange* pre_copied) {
  if (!known_.outside) return false;
  TRY_LET(place, capture_outside(fd_, image, pre_copied, *history_.sequences, known_.announced));
  if (!place) return false;
  known_.base = history_.sequences->received;
  captured(*place, place->acknowledged);
  known_.all_acknowledged =
      known_.announced_up_to == image.rcv_seq && place->received == facts_.received;
  return true;
}

void FrozenSocket::captured(const Place& place, std::uint64_t written) {
  known_.captured = place;
  known_.captured.written = written;
  known_.seen = known_.captured;
  known_.finished = false;
}

Result<> FrozenSocket::capture_queues(wire::TcpT& image, PreCopyRange* pre_copied) {
  for (int attempt = 0;; ++attempt) {
    TRY_LET(info, get<tcp_info>(fd_, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    const int state = info.tcpi_state;
    if (!is_movable(state)) return fail(ECONNRESET, "connection ended meanwhile");
    describe(image, info);
    if (state == kSynSent) {
      // Bytes that were sent with the SYN (TCP Fast Open) are in no queue that can be
      // read.
      if (info.tcpi_unacked > 1)
        return fail(ENOTSUP, "cannot move a connection that sent data with its SYN");
      TRY_LET(snd_seq, queue_sequence(fd_, TCP_SEND_QUEUE));
      if (snd_seq == 1) return fail(ENOTSUP, "cannot restore an initial sequence number of 0");
      image.snd_seq = snd_seq;
      return select_queue(fd_, TCP_NO_QUEUE);
    }
    // Segments keep arriving, and other threads read and write. The values that are read
    // here must belong to one moment. The queues may grow at their ends in the meantime:
    // what arrived or was written after that moment is left to received_since(). Bytes
    // that have been acknowledged since do no harm in the image.
    wire::Window window;
    const auto sequences = learn_sequence(image, window);
    if (!sequences && sequences.error().code == EAGAIN && attempt < kMaxReadings) continue;
    TRY(sequences);
    TRY(set_repair(fd_, TCP_REPAIR_OFF_NO_WP));
    TRY_LET(place, Place::of(fd_));
    if (place.state == state && (poll_now(fd_, POLLPRI) & POLLPRI))
      return fail(ENOTSUP, "cannot move urgent data, which has arrived");
    auto receive_queue = peek(pre_copied ? pre_copied->keep(place.read, place.received) : 0,
                              static_cast<std::uint32_t>(place.received - place.read));
    TRY(set_repair(fd_, TCP_REPAIR_ON));
    TRY_LET(send_queue, read_send_queue(fd_));
    TRY_LET(after, Place::of(fd_, place));
    const bool steady =
        receive_queue && place.state == state && after.state == state && after.read == place.read;
    if (!steady && attempt < kMaxReadings) continue;
    if (!receive_queue) return std::unexpected(receive_queue.error());
    if (!steady) return fail(EAGAIN, "socket keeps changing; try again");
    captured(place, send_queue.written);
    image.rcv_seq = known_.base + static_cast<std::uint32_t>(place.received);
    image.snd_seq = send_queue.end;
    image.receive_queue = std::move(*receive_queue);
    image.send_queue = std::move(send_queue.bytes);
    // The bytes that count as acknowledged include what a frozen socket "sent". So this
    // is true only if nothing has arrived since the look before the freeze.
    known_.all_acknowledged = state == kEstablished && known_.announced_up_to == image.rcv_seq &&
                              place.received == facts_.received;
    image.unsent = static_cast<std::uint32_t>(std::min<std::uint64_t>(
        send_queue.written - std::min(known_.sent, send_queue.written), image.send_queue.size()));
    image.window = std::make_unique<wire::Window>(window);
    return {};
  }
}

// Learns the sequence number of the received data. The probe that ends repair mode has
// the last sequence number received, and leaves it behind as that of the last window
// update. A segment out of order leaves its own number there, and does not count as
// received, so no segment at all may arrive in the meantime. In CLOSE_WAIT there is no
// probe, but no data can follow either: what is not acknowledged yet is acknowledged
// immediately (this does not reach the peer, because output is blocked). On request the
// kernel does so only if nothing is unread, but always as the answer to an old segment.
// In the other states nobody can write, so the receive queue may be selected.
//
// Errors: EAGAIN if a segment arrived in the meantime.
Result<> FrozenSocket::learn_sequence(const wire::TcpT& image, wire::Window& window) {
  const auto look = [&] {
    return get<tcp_repair_window>(fd_, IPPROTO_TCP, TCP_REPAIR_WINDOW, "TCP_REPAIR_WINDOW");
  };
  TRY_LET(before, get<tcp_info>(fd_, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
  TRY_LET(real, look());
  std::uint32_t sequence = 0, injected = 0;
  if (image.state == kEstablished) {
    TRY(set_repair(fd_, TCP_REPAIR_OFF));
    TRY(set_repair(fd_, TCP_REPAIR_ON));
    TRY_LET(probed, look());
    sequence = probed.snd_wl1 + 1;
  } else if (image.state == kCloseWait) {
    if (const auto old = old_segment(fd_, nullptr); old && *old && inject(**old, marks_.inject))
      injected = 1;
    // An even number: the effect ends with this call.
    TRY(set(fd_, IPPROTO_TCP, TCP_QUICKACK, 2, "TCP_QUICKACK"));
    TRY_LET(acknowledged, look());
    sequence = acknowledged.rcv_wup;
  } else {
    TRY_LET(received, queue_sequence(fd_, TCP_RECV_QUEUE));
    TRY(select_queue(fd_, TCP_NO_QUEUE));
    sequence = received;
  }
  TRY_LET(after, get<tcp_info>(fd_, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
  if (before.tcpi_state != image.state || after.tcpi_state != image.state ||
      before.tcpi_segs_in + injected != after.tcpi_segs_in)
    return fail(EAGAIN, "socket keeps changing; try again");
  known_.base = sequence - static_cast<std::uint32_t>(after.tcpi_bytes_received);
  window = wire::Window(real.snd_wl1, real.snd_wnd, real.max_window, real.rcv_wnd, real.rcv_wup);
  return {};
}

// Outside repair mode. A sealed socket remains in repair mode, and nobody can write to
// it.
Result<Bytes> FrozenSocket::peek(std::uint32_t skipped, std::uint32_t size) {
  if (known_.sealed) TRY(select_queue(fd_, TCP_RECV_QUEUE));
  auto bytes = peek_received_behind(fd_, skipped, size);
  if (known_.sealed) TRY(select_queue(fd_, TCP_NO_QUEUE));
  return bytes;
}

Result<> FrozenSocket::destroy_silently() {
  // close(2) in repair mode would be silent as well, but a duplicate of the descriptor
  // would remain alive and continue to acknowledge.
  TRY(set_repair(fd_, TCP_REPAIR_ON));
  const sockaddr none{.sa_family = AF_UNSPEC};
  if (::connect(fd_, &none, sizeof none) != 0) return fail_errno("cannot disconnect silently");
  const int fd = std::exchange(fd_, -1);
  return set_repair(fd, TCP_REPAIR_OFF_NO_WP);
}

Result<> FrozenSocket::reset() {
  const int fd = std::exchange(fd_, -1);
  TRY(set(fd, SOL_SOCKET, SO_MARK, owner_.mark, "SO_MARK"));
  TRY(set_repair(fd, TCP_REPAIR_OFF_NO_WP));
  const sockaddr none{.sa_family = AF_UNSPEC};  // outside repair mode this sends an RST
  if (::connect(fd, &none, sizeof none) != 0) return fail_errno("cannot disconnect");
  return {};
}

Result<> FrozenSocket::unfreeze() {
  const auto old = old_segment(fd_, known_.outside ? &*history_.sequences : nullptr),
             last = last_acknowledgement(fd_, facts_);
  const int fd = std::exchange(fd_, -1);
  // If this daemon dies, the next one finds the socket by its mark. The probe is sent
  // without it.
  (void)set_repair(fd, TCP_REPAIR_OFF_NO_WP);
  TRY(set(fd, SOL_SOCKET, SO_MARK, owner_.mark, "SO_MARK"));
  TRY(set_repair(fd, TCP_REPAIR_OFF));
  if (owner_.peek_offset >= 0)
    TRY(set(fd, SOL_SOCKET, SO_PEEK_OFF, owner_.peek_offset, "SO_PEEK_OFF"));
  TRY(set(fd, SOL_SOCKET, SO_REUSEADDR, int(owner_.reuse_address == 1), "SO_REUSEADDR"));
  Result<> acknowledged;
  if (!old) {
    acknowledged = std::unexpected(old.error());
  } else if (*old) {
    acknowledged = inject(**old, marks_.inject);
  } else if (last && *last) {
    acknowledged = send_to_peer(**last);
  }
  if (!acknowledged) {
    log::warn("acknowledgement_failed",
              {{"connection", facts_.tuple}, {"error", acknowledged.error()}});
  }
  return {};
}

}  // namespace sockmi::tcp
