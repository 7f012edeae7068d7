// Captures what happened to a frozen socket since its image: the freeze delta.
//
// Bytes behind the image's send queue are sent after it (FreezeDelta::written). When the
// endpoint lives elsewhere, seal() ends writing for good: a thread that slept in send(2)
// could otherwise write as long as the socket lives, in repair mode or not.
#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "tcp/capture.h"
#include "tcp/queues.h"
#include "tcp/send_queue.h"
#include "tcp/socket_options.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {

constexpr std::uint32_t kMaxDelta = 1 << 30;  // no window is larger

constexpr bool can_write(int state) {
  return state == kEstablished || state == kCloseWait;
}

}  // namespace

Result<FreezeDelta> FrozenSocket::received_since(const wire::TcpT& image) {
  auto delta = hold(image);
  if (!known_.sealed) TRY(set_repair(fd_, TCP_REPAIR_OFF_NO_WP));
  return delta;
}

Result<FreezeDelta> FrozenSocket::hold(const wire::TcpT& image) {
  for (int attempt = 0; attempt < kMaxReadings; ++attempt) {
    if (!known_.sealed) TRY(set_repair(fd_, TCP_REPAIR_OFF_NO_WP));
    Place peeked;
    auto delta = peek_delta(image, peeked);
    if (!delta && delta.error().code == EAGAIN && image.state != kSynSent) continue;
    TRY(set_repair(fd_, TCP_REPAIR_ON));
    if (!delta || image.state == kSynSent) return delta;
    TRY_LET(now, Place::of(fd_, peeked));
    if (now.received != peeked.received || now.state != peeked.state) continue;
    TRY(done_by_owner(image, now, now.received, *delta));
    TRY(heard_last(image, *delta));
    delta->all_acknowledged = known_.all_acknowledged;
    delta->more = (::fcntl(fd_, F_GETFL) & O_NONBLOCK) == 0;
    known_.seen = known_.captured;
    known_.seen.read += delta->read;
    known_.seen.received = now.received;
    known_.seen.written += delta->written.size();
    known_.finished = delta->finished;
    return delta;
  }
  return fail(EAGAIN, "socket keeps changing; try again");
}

Result<FreezeDelta> FrozenSocket::seal(const wire::TcpT& image) {
  FreezeDelta delta;
  TRY(set_repair(fd_, TCP_REPAIR_ON));
  known_.sealed = true;
  if (image.state == kSynSent) return delta;
  TRY_LET(info, get<tcp_info>(fd_, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
  const int state = info.tcpi_state;
  if (state == kClose) return delta;
  const bool finished = has_sent_fin(state) && !we_have_finished(image.state);
  if (can_write(state) && ::shutdown(fd_, SHUT_WR) != 0)
    return fail_errno("cannot shut down the socket");
  TRY_LET(now, Place::of(fd_));
  TRY(done_by_owner(image, now, known_.seen.received, delta));
  delta.finished = finished && !known_.finished;
  delta.sent = 0;
  delta.read -= static_cast<std::uint32_t>(known_.seen.read - known_.captured.read);
  delta.written.erase(delta.written.begin(),
                      delta.written.begin() + static_cast<std::ptrdiff_t>(known_.seen.written -
                                                                          known_.captured.written));
  return delta;
}

// Adds the peer's last acknowledgement and window, if the peer may never repeat them.
// With a FIN of ours it is not needed: the FIN is sent again anyway, and acknowledged
// with everything before it.
Result<> FrozenSocket::heard_last(const wire::TcpT& image, FreezeDelta& delta) {
  if ((image.send_queue.empty() && delta.written.empty()) || we_have_finished(image.state))
    return {};
  TRY_LET(now, Place::of(fd_));
  const std::uint64_t outstanding =
      known_.captured.written - std::min(known_.captured.written, now.acknowledged);
  const auto sent = static_cast<std::uint32_t>(image.send_queue.size()) - image.unsent;
  if (delta.sent > 0) {
    delta.acked = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(delta.sent, now.acknowledged - known_.captured.acknowledged));
  } else if (outstanding <= image.unsent) {
    delta.acked = sent;
  }
  TRY_LET(window, get<tcp_repair_window>(fd_, IPPROTO_TCP, TCP_REPAIR_WINDOW, "TCP_REPAIR_WINDOW"));
  if (image.unsent + delta.written.size() > delta.sent && window.snd_wnd > image.window->snd_wnd())
    delta.window = window.snd_wnd;
  return {};
}

// Adds what the owner's threads did until `now`, and what they have written since.
// `received`: the received bytes that the importer has or gets.
Result<> FrozenSocket::done_by_owner(const wire::TcpT& image, Place now, std::uint64_t received,
                                     FreezeDelta& delta) {
  delta.read = static_cast<std::uint32_t>(std::min(now.read, received) - known_.captured.read);
  delta.finished = has_sent_fin(now.state) && !we_have_finished(image.state);
  for (int attempt = 0; now.written != known_.captured.written + delta.written.size(); ++attempt) {
    if (attempt == kMaxReadings)
      return fail(EAGAIN, "application writes without a pause; try again");
    TRY_LET(queue, read_send_queue(fd_));
    const std::uint32_t size = queue.end - image.snd_seq;
    TRY_LET(after, Place::of(fd_, now));
    now = after;
    // What the peer has acknowledged since is no longer in the queue. The importer needs
    // only its length, because FreezeDelta::acked covers it.
    const std::uint32_t gone =
        size - static_cast<std::uint32_t>(std::min<std::size_t>(size, queue.bytes.size()));
    if (gone > 0 && now.acknowledged < known_.captured.written + gone) {
      return fail(EIO, "send queue has changed: {} bytes were written, and {} are there", size,
                  queue.bytes.size());
    }
    delta.written.assign(gone, 0);
    delta.written.insert(delta.written.end(), queue.bytes.end() - (size - gone), queue.bytes.end());
  }
  delta.sent = static_cast<std::uint32_t>(std::min<std::uint64_t>(
      known_.sent - std::min(known_.sent, known_.captured.written), delta.written.size()));
  return {};
}

Result<FreezeDelta> FrozenSocket::peek_delta(const wire::TcpT& image, Place& now) {
  TRY_LET(place, Place::of(fd_));
  now = place;
  const bool closed = place.state == kClose;
  if (closed && (poll_now(fd_, 0) & POLLERR)) return fail(ECONNRESET, "connection ended meanwhile");
  if (image.state == kSynSent) {
    return place.state == kSynSent ? Result<FreezeDelta>(FreezeDelta())
                                   : fail(EAGAIN, "peer has answered the SYN; try again");
  }
  // A connection that is closed without an error has both FINs.
  FreezeDelta delta{.fin = !peer_has_finished(image.state) && has_received_fin(place.state)};
  const std::uint32_t size =
      known_.base + static_cast<std::uint32_t>(place.received) - image.rcv_seq;
  if (size == 0) return delta;  // the usual case
  TRY_LET(urgent, has_urgent(fd_));
  if (urgent) return fail(ENOTSUP, "cannot move urgent data, which has arrived");
  const auto unread = static_cast<std::uint32_t>(place.received - place.read),
             taken = size - std::min(size, unread);
  if (size > kMaxDelta) return fail(EIO, "unexpected {} bytes have arrived", size);
  TRY_LET(bytes, peek(unread - (size - taken), unread));
  TRY_LET(after, Place::of(fd_, place));
  if (after.read != place.read) return fail(EAGAIN, "another thread reads; try again");
  // Data that another thread has already read will not be read again. Only its length
  // matters (FreezeDelta::read).
  delta.bytes.resize(taken);
  delta.bytes.insert(delta.bytes.end(), bytes.begin(), bytes.end());
  return delta;
}

}  // namespace sockmi::tcp
