// Restores a connection from an image. The kernels determine the order of the steps;
// where the reason is not obvious, it is given at the step. An image's sequence numbers
// are those behind the queues. So a queue is rewound by its size and refilled, and then
// stands where it stood.
//
// Repair mode knows one state, ESTABLISHED. The other states are reached in the way in
// which every socket reaches them: our FIN by shutdown(2), the peer's FIN, or its
// acknowledgement of ours, by a segment that this host injects. Whatever can fail is done
// while the exporter's socket still lives, so the peer's FIN is injected here. There is
// one exception: if our FIN was sent first (CLOSING), the peer's FIN must wait for ours,
// and ours follows the unsent bytes, that is, the thaw.
//
// In SYN_SENT there is nothing to repair. The thaw sends the SYN again, with the sequence
// number that it had. Its timestamp cannot be kept. If the peer has just answered the
// first SYN, it may refuse the second one, and the kernel's next retransmission
// establishes the connection.
#include "tcp/restore.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "base/log.h"
#include "tcp/image_check.h"
#include "tcp/overhead.h"
#include "tcp/queues.h"
#include "tcp/repair_connect.h"
#include "tcp/socket_options.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {

constexpr int kInjectionTimeoutMs = 200;  // ms, for a segment inside this host

}  // namespace

RestoredSocket::RestoredSocket(const wire::TcpT& image, Marks marks)
    : marks_(marks),
      tuple_(tuple_of(image)),
      state_(image.state),
      owner_mark_(image.mark),
      owner_reuse_address_(image.reuse_address),
      read_shutdown_(image.read_shutdown),
      rcv_seq_(image.rcv_seq),
      snd_seq_(image.snd_seq),
      to_come_(image.to_come),
      acknowledged_(image.snd_seq - static_cast<std::uint32_t>(image.send_queue.size())),
      wscale_(image.negotiated & TCPI_OPT_WSCALE ? image.snd_wscale : 0),
      sample_(sample_size(image)) {
  if (!image.window) return;
  rcv_wup_ = image.window->rcv_wup();
  nothing_to_read_ = image.receive_queue.empty();
  window_ = static_cast<std::uint16_t>(image.window->snd_wnd() >> wscale_);
}

RestoredSocket::~RestoredSocket() {
  if (!fd_) return;
  const sockaddr none{.sa_family = AF_UNSPEC};
  (void)::connect(fd_.get(), &none, sizeof none);
}

Result<RestoredSocket> RestoredSocket::restore(const wire::TcpT& image, Marks marks,
                                               bool transparent) {
  TRY(check_connection(image));
  RestoredSocket restored(image, marks);
  TRY(restored.restore_socket(image, transparent));
  if (image.state != kSynSent) {
    TRY(restored.restore_connection(image));
    TRY(restored.finish_silently());
  }
  return restored;
}

Result<> RestoredSocket::restore_socket(const wire::TcpT& image, bool transparent) {
  fd_.reset(::socket(tuple_.local.ip.family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
  const int fd = fd_.get();
  if (fd < 0) return fail_errno("cannot create a socket");
  buffers_ = Buffers(fd, image);
  TRY(set_repair(fd, TCP_REPAIR_ON));
  TRY(set(fd, SOL_SOCKET, SO_MARK, marks_.freeze, "SO_MARK"));
  if (transparent || image.transparent) TRY(set_transparent(fd, tuple_.local.ip.family));
  restore_congestion_control(fd, image);
  restore_options(fd, image, When::Open);
  TRY(bind_local(fd, tuple_.local));
  if (image.state == kSynSent) {
    if (image.window_clamp != 0)
      TRY(set(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, image.window_clamp, "TCP_WINDOW_CLAMP"));
    TRY(select_queue(fd, TCP_SEND_QUEUE));
    TRY(set(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, image.snd_seq - 1, "TCP_QUEUE_SEQ"));
    restore_options(fd, image, When::Connected);
  }
  return {};
}

Result<> RestoredSocket::restore_connection(const wire::TcpT& image) {
  const int fd = fd_.get();
  TRY(connect_silently(fd, image, sample_));
  TRY(show_sample(image));
  if (!image.receive_queue.empty())
    (void)buffers_.grow(Buffer::Receive, 2 * image.receive_queue.size());
  if (!image.send_queue.empty()) (void)buffers_.grow(Buffer::Send, 2 * image.send_queue.size());
  const ByteView send_queue = image.send_queue,
                 sent = send_queue.first(send_queue.size() - image.unsent);
  TRY(fill_receive_queue(image));
  TRY(fill(fd, TCP_SEND_QUEUE, sent));
  unsent_.assign(send_queue.begin() + static_cast<std::ptrdiff_t>(sent.size()), send_queue.end());
  buffers_.shrink(Buffer::Receive);  // before anything announces its size to the peer
  TRY(restore_windows(fd, image));
  TRY(select_queue(fd, TCP_NO_QUEUE));
  restore_options(fd, image, When::Connected);
  return {};
}

// Lets the socket receive the sample, and reads it, before the first byte of the
// connection. Reading is not possible in repair mode.
Result<> RestoredSocket::show_sample(const wire::TcpT& image) {
  if (sample_ == 0) return {};
  const int fd = fd_.get();
  const Bytes zeros(sample_);
  Segment segment = next_segment();
  segment.data = zeros;
  segment.seq -= static_cast<std::uint32_t>(image.receive_queue.size() + sample_);
  const std::uint32_t end = segment.seq + static_cast<std::uint32_t>(sample_);
  (void)buffers_.grow(Buffer::Receive, 4 * kLargestSegment);
  if (auto injected = inject(segment, marks_.inject))
    injected = await("the sample", [&] { return has_received(end); });
  if (!has_received(end)) {
    log::warn("injection_failed",
              {{"connection", tuple_},
               {"consequence", "the peer may get a promise of a window that is too wide"}});
    TRY(fill(fd, TCP_RECV_QUEUE, zeros));
  }
  TRY(set_repair(fd, TCP_REPAIR_OFF_NO_WP));
  TRY(skip_received(fd, static_cast<std::uint32_t>(sample_)));
  return set_repair(fd, TCP_REPAIR_ON);
}

// A socket that has never received a segment assumes that three quarters of its buffer
// are overhead (since Linux 6.6). When a full queue is read, it then finds no space to
// announce, and a peer that waits for the window would wait until its own probe. So the
// last bytes of such a queue are injected as segments.
Result<> RestoredSocket::fill_receive_queue(const wire::TcpT& image) {
  const int fd = fd_.get();
  const ByteView queue = image.receive_queue;
  const std::uint32_t room = image.window->rcv_wup() + image.window->rcv_wnd() - image.rcv_seq;
  if (queue.empty() || sample_ > 0 || 2ull * room > image.window_clamp)
    return fill(fd, TCP_RECV_QUEUE, queue);
  Segment segment = next_segment();
  segment.data = queue.last(std::min<std::size_t>(queue.size(), kLargestSegment));
  segment.seq -= static_cast<std::uint32_t>(segment.data.size());
  TRY(fill(fd, TCP_RECV_QUEUE, queue.first(queue.size() - segment.data.size())));
  (void)buffers_.grow(Buffer::Receive, received_memory(fd) + 2 * kLargestSegment);
  const std::uint32_t window = image.window->snd_wnd();
  TRY(set(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW,
          tcp_repair_window{segment.seq - 1, window, std::max(window, image.window->max_window()),
                            kLargestSegment, segment.seq},
          "TCP_REPAIR_WINDOW"));
  if (auto injected = inject_data(segment, marks_.inject, Next::IsMeasured))
    injected = await("the end of the receive queue", [&] { return has_received(rcv_seq_); });
  if (has_received(rcv_seq_)) return {};
  log::warn("injection_failed",
            {{"connection", tuple_}, {"consequence", "the peer may wait for its own probe"}});
  return fill(fd, TCP_RECV_QUEUE, segment.data);
}

bool RestoredSocket::has_received(std::uint32_t end) const {
  const auto now = queue_sequence(fd_.get(), TCP_RECV_QUEUE);
  return now && static_cast<std::int32_t>(*now - end) >= 0;
}

Result<> RestoredSocket::finish_silently() {
  switch (state_) {
    case kCloseWait:
    case kLastAck: return give_fin();
    case kClosing: fin_waits_ = true; return {};
    case kFinWait2: {
      // While the send queue is selected, nothing is sent, but our FIN counts as sent.
      TRY(select_queue(fd_.get(), TCP_SEND_QUEUE));
      if (::shutdown(fd_.get(), SHUT_WR) != 0) return fail_errno("cannot shut down the socket");
      TRY(select_queue(fd_.get(), TCP_NO_QUEUE));
      acknowledged_ = snd_seq_ + 1;
      TRY(inject(next_segment(), marks_.inject));
      return await("the acknowledgement of the FIN", [&] { return state() == kFinWait2; });
    }
    default: return {};
  }
}

Result<> RestoredSocket::give_fin() {
  Segment segment = next_segment();
  segment.fin = true;
  ++heard_.answers;
  TRY(inject(segment, marks_.inject));
  return await("the peer's FIN", [&] { return peer_has_finished(state()) || state() == kClose; });
}

Result<> RestoredSocket::receive(const FreezeDelta& delta) {
  if (delta.sent > to_come_ || delta.written.size() < to_come_) {
    return fail(EBADMSG, "invalid freeze delta: expected {} bytes, found {}", to_come_,
                delta.written.size());
  }
  if (!delta.written.empty() && we_have_finished(state_))
    return fail(EBADMSG, "invalid freeze delta: bytes after this end's FIN");
  if ((!delta.bytes.empty() || delta.fin) &&
      (!is_synchronized(state_) || peer_has_finished(state_)))
    return fail(EBADMSG, "invalid freeze delta: bytes after the peer's FIN");
  if ((delta.acked > 0 || delta.window > 0) && !is_synchronized(state_))
    return fail(EBADMSG, "invalid freeze delta: an acknowledgement before the connection");
  TRY(done_by_owner(delta));
  if (delta.acked > snd_seq_ - acknowledged_)
    return fail(EBADMSG, "invalid freeze delta: an acknowledgement of what was not sent");
  // If the queue is full, the peer may wait for the news that it was read.
  peer_knows_all_ = delta.all_acknowledged && nothing_to_read_ && delta.bytes.empty() && !delta.fin;
  auto received = delta.acked > 0 || delta.window > 0 ? inject_ack(delta) : Result<>();
  if (received && (!delta.bytes.empty() || delta.fin)) received = receive_data(delta);
  // What other threads have read must be there, because they do not read it again.
  if (received || delta.read > 0) return received;
  peer_knows_all_ = false;
  log::warn("received_data_dropped", {{"connection", tuple_},
                                      {"bytes", delta.bytes.size()},
                                      {"error", received.error()},
                                      {"consequence", "the peer sends them again"}});
  return {};
}

// Applies what the peer does not have: it exists nowhere else.
Result<> RestoredSocket::done_by_owner(const FreezeDelta& delta) {
  const ByteView sent = ByteView(delta.written).first(delta.sent);
  if (!sent.empty()) {
    (void)buffers_.grow(Buffer::Send, buffers_.size(Buffer::Send) + 2 * sent.size());
    TRY(fill(fd_.get(), TCP_SEND_QUEUE, sent));
    TRY(select_queue(fd_.get(), TCP_NO_QUEUE));
    snd_seq_ += delta.sent;
  }
  unsent_.insert(unsent_.end(), delta.written.begin() + delta.sent, delta.written.end());
  to_come_ = 0;
  finished_ = delta.finished && is_synchronized(state_);
  read_ = delta.read;
  return {};
}

// Injects the data as segments instead of putting it into the queue by repair mode,
// because segments out of order may wait behind the gap that it closes.
Result<> RestoredSocket::receive_data(const FreezeDelta& delta) {
  const int fd = fd_.get();
  (void)buffers_.grow(Buffer::Receive,
                      received_memory(fd) + 2 * delta.bytes.size() + kLargestSegment);
  const auto enough = get<int>(fd, SOL_SOCKET, SO_RCVLOWAT, "SO_RCVLOWAT").value_or(1);
  // Otherwise it would not wake us.
  if (enough > 1) TRY(set(fd, SOL_SOCKET, SO_RCVLOWAT, 1, "SO_RCVLOWAT"));
  const bool fin_waits = delta.fin && we_have_finished(state_);
  const std::uint32_t end = rcv_seq_ + static_cast<std::uint32_t>(delta.bytes.size());
  Segment segment = next_segment();
  segment.data = delta.bytes;
  segment.fin = delta.fin && !fin_waits;
  auto done = segment.data.empty() && !segment.fin ? Result<>()
                                                   : inject_data(segment, marks_.inject, next());
  if (done)
    done = await("the bytes of the freeze delta", [&] { return has_received(end + segment.fin); });
  TRY(select_queue(fd, TCP_NO_QUEUE));
  buffers_.shrink(Buffer::Receive);
  if (enough > 1) TRY(set(fd, SOL_SOCKET, SO_RCVLOWAT, enough, "SO_RCVLOWAT"));
  TRY(done);
  rcv_seq_ = end;
  fin_waits_ = fin_waits;
  return {};
}

// Injects the peer's last acknowledgement. The kernel takes a round-trip time from it,
// which is too short. So this is done only for what the peer would not repeat: otherwise
// small segments would wait for an acknowledgement (Nagle), and data for the window,
// until a timer expires.
Result<> RestoredSocket::inject_ack(const FreezeDelta& delta) {
  acknowledged_ += delta.acked;
  if (delta.window > 0)
    window_ = static_cast<std::uint16_t>(std::min<std::uint32_t>(delta.window >> wscale_, 0xffff));
  Segment segment = next_segment();
  segment.seq += peer_has_finished(state_);
  return inject(segment, marks_.inject);
}

Result<> RestoredSocket::may_thaw() const {
  if (to_come_ > 0)
    return fail(EBADMSG, "cannot thaw: {} bytes of the send queue are missing", to_come_);
  return fault::point("may-thaw");
}

Result<unique_fd> RestoredSocket::thaw() && {
  if (to_come_ > 0)
    return fail(EBADMSG, "cannot thaw: {} bytes of the send queue are missing", to_come_);
  const int fd = fd_.get();
  TRY(fault::point("thaw"));
  if (const auto info = get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"))
    heard_ = {info->tcpi_segs_in - info->tcpi_data_segs_in, info->tcpi_bytes_acked};
  TRY(set(fd, SOL_SOCKET, SO_MARK, owner_mark_, "SO_MARK"));
  // Unless something arrived while the socket was frozen. What arrives from here on, the
  // kernel acknowledges.
  if (peer_knows_all_) {
    const auto received = queue_sequence(fd, TCP_RECV_QUEUE);
    peer_knows_all_ = received && *received == rcv_seq_;
    TRY(select_queue(fd, TCP_NO_QUEUE));
  }
  TRY(set_repair(fd, state_ == kSynSent ? TCP_REPAIR_OFF_NO_WP : TCP_REPAIR_OFF));
  auto done = go_live();
  if (done) done = fault::point("go-live");
  unique_fd live = std::move(fd_);  // not discarded silently any more
  if (done) return live;
  const linger reset{.l_onoff = 1, .l_linger = 0};
  (void)::setsockopt(live.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  return std::unexpected(done.error());
}

Result<> RestoredSocket::go_live() {
  const int fd = fd_.get();
  if (owner_reuse_address_) TRY(set(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"));
  if (state_ == kSynSent) {
    buffers_.settle();
    return send_syn();
  }
  TRY(write_unsent());
  if ((finished_ || (we_have_finished(state_) && state_ != kFinWait2)) &&
      ::shutdown(fd, SHUT_WR) != 0)
    return fail_errno("cannot shut down the socket");
  if (fin_waits_) {
    // What the peer has by now acknowledged of our bytes and our FIN, its injected FIN
    // must acknowledge as well.
    TRY_LET(outstanding, queued(fd, SIOCOUTQ, "SIOCOUTQ"));
    acknowledged_ = snd_seq_ + 1 - outstanding;
    if (auto given = give_fin(); !given) {
      log::error("fin_injection_failed", {{"connection", tuple_}, {"error", given.error()}});
    }
  }
  if (read_ > 0) TRY(skip_received(fd, read_));
  if (read_shutdown_) (void)::shutdown(fd, SHUT_RD);
  buffers_.settle();
  if (auto done = peer_knows_all_ ? Result<>() : acknowledge(); !done) {
    log::warn("acknowledgement_failed", {{"connection", tuple_}, {"error", done.error()}});
  }
  return {};
}

// Makes the socket acknowledge everything. The exporter's socket and this one
// acknowledged what they received while frozen by segments that never left. For this
// kernel the peer has these acknowledgements; unless the application writes, or reads a
// good deal, the peer would wait for its retransmission timeout. The probe that ends
// repair mode does not help: its sequence number is an old one, so the peer answers it,
// but takes nothing from it. This kernel likewise answers an old segment, and that answer
// is the acknowledgement that is needed.
Result<> RestoredSocket::acknowledge() const {
  Segment old = next_segment();
  ++heard_.answers;
  // Older than the last byte and the FIN that the peer knows to be received.
  old.seq = rcv_wup_ - 2;
  return inject(old, marks_.inject);
}

std::optional<Segment> RestoredSocket::question() const {
  if (!is_synchronized(state_)) return {};
  return Segment{.tuple = {tuple_.remote, tuple_.local},
                 .seq = acknowledged_ - 1,
                 .ack = rcv_seq_ + peer_has_finished(state_),
                 .window = 1024,
                 .data = {}};
}

Result<> RestoredSocket::write_unsent() {
  for (ByteView rest = unsent_; !rest.empty();) {
    const ssize_t sent = ::send(fd_.get(), rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      rest = rest.subspan(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno != EAGAIN) return fail_errno("cannot write the unsent rest of the send queue");
    // The buffer was made large enough for all the data. If the kernel counts more
    // overhead, it is enlarged again.
    if (!buffers_.grow(Buffer::Send, 2 * buffers_.size(Buffer::Send)))
      return fail(ENOBUFS, "cannot fit {} unsent bytes into the send buffer", rest.size());
  }
  return {};
}

Result<> RestoredSocket::send_syn() {
  const int flags = ::fcntl(fd_.get(), F_GETFL);
  ::fcntl(fd_.get(), F_SETFL, flags | O_NONBLOCK);
  sockaddr_storage address;
  const socklen_t size = tuple_.remote.to(address);
  const int connected = ::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), size);
  if (connected != 0 && errno != EINPROGRESS)
    return fail_errno("cannot connect to " + to_string(tuple_.remote));
  ::fcntl(fd_.get(), F_SETFL, flags);
  return {};
}

// An injected segment is processed before inject() returns, unless the CPU is overloaded.
Result<> RestoredSocket::await(const char* what, const std::function<bool()>& done) const {
  if (done()) return {};
  const unique_fd changes(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
  if (!changes || ::epoll_ctl(changes.get(), EPOLL_CTL_ADD, fd_.get(), &event) != 0)
    return fail_errno("cannot use epoll");
  do {
    if (done()) return {};
  } while (::epoll_wait(changes.get(), &event, 1, kInjectionTimeoutMs) > 0);
  return fail(ETIMEDOUT, "cannot restore the socket: {} did not arrive (state {})", what, state());
}

std::uint8_t RestoredSocket::state() const {
  const auto info = get<tcp_info>(fd_.get(), IPPROTO_TCP, TCP_INFO, "TCP_INFO");
  return info ? info->tcpi_state : std::uint8_t(kClose);
}

}  // namespace sockmi::tcp
