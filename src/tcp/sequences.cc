// The receive queue must never be selected in repair mode while another thread may write,
// because its bytes would enter that queue. So the last sequence number received is
// learned from the probe that ends repair mode, which leaves it behind as that of the
// last window update. Any segment that arrives, even out of order, does the same, so none
// may arrive in the meantime. The send queue's number can be read outside repair mode as
// well, as long as that queue is selected, and leaving repair mode does not deselect it.
#include "tcp/sequences.h"

#include <linux/tcp.h>
#include <netinet/in.h>

#include "tcp/send_buffer.h"
#include "tcp/socket_options.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {

constexpr std::size_t kMaxHistories = 4096;

Result<tcp_repair_window> window_of(int fd) {
  return get<tcp_repair_window>(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, "TCP_REPAIR_WINDOW");
}
Result<std::uint32_t> selected_sequence(int fd) {
  return get<std::uint32_t>(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, "TCP_QUEUE_SEQ");
}

// Leaves the send queue selected.
Result<Sequences> learn_received(int fd, std::optional<wire::Window>& before) {
  for (int attempt = 0; attempt < kMaxReadings; ++attempt) {
    TRY_LET(then, get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    TRY(set_repair(fd, TCP_REPAIR_ON));
    TRY_LET(real, window_of(fd));
    // The probe changes it.
    if (!before)
      before.emplace(real.snd_wl1, real.snd_wnd, real.max_window, real.rcv_wnd, real.rcv_wup);
    TRY(set_repair(fd, TCP_REPAIR_OFF));
    TRY(set_repair(fd, TCP_REPAIR_ON));
    TRY_LET(probed, window_of(fd));
    TRY_LET(mss, get<std::uint32_t>(fd, IPPROTO_TCP, TCP_MAXSEG, "TCP_MAXSEG"));
    TRY(select_queue(fd, TCP_SEND_QUEUE));
    TRY(set_repair(fd, TCP_REPAIR_OFF_NO_WP));
    TRY_LET(now, get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    if (then.tcpi_state != kEstablished || now.tcpi_state != kEstablished)
      return fail(EAGAIN, "FIN has arrived; try again");
    if (then.tcpi_segs_in != now.tcpi_segs_in) continue;
    const std::uint32_t received =
        probed.snd_wl1 + 1 - static_cast<std::uint32_t>(now.tcpi_bytes_received);
    return Sequences{.received = received, .mss = mss, .max_window = real.max_window};
  }
  return fail(EAGAIN, "socket keeps changing; try again");
}

Result<std::uint32_t> learn_written(int fd) {
  std::optional<SendBuffer> full;  // as in send_queue.cc
  for (int attempt = 0; attempt < kMaxReadings; ++attempt) {
    TRY_LET(before, Place::of(fd));
    TRY_LET(sequence, selected_sequence(fd));
    TRY_LET(after, Place::of(fd, before));
    if (before.state != kEstablished || after.state != kEstablished)
      return fail(EAGAIN, "connection is ending");
    if (before.written == after.written)
      return sequence - static_cast<std::uint32_t>(after.written);
    if (!full) (void)full.emplace(fd).resize(1);
  }
  return fail(EAGAIN, "application writes without a pause; try again");
}

}  // namespace

Result<Sequences> Sequences::learn(int fd, std::optional<wire::Window>& before) {
  TRY_LET(sequences, learn_received(fd, before));
  TRY_LET(written, learn_written(fd));
  sequences.written = written;
  return sequences;
}

bool Sequences::match(int fd) const {
  const auto before = Place::of(fd);
  if (!before) return false;
  const auto sequence = selected_sequence(fd);
  const auto after = Place::of(fd, *before);
  if (!sequence || !after) return false;
  return *sequence - written - static_cast<std::uint32_t>(before->written) <=
         static_cast<std::uint32_t>(after->written - before->written);
}

void Histories::remember(std::uint64_t cookie, const History& history) {
  // It would only displace others.
  if (!history.sequences && !history.in_use && !all_.contains(cookie)) return;
  if (all_.insert_or_assign(cookie, history).second) order_.push_back(cookie);
  if (order_.size() <= kMaxHistories) return;
  all_.erase(order_.front());
  order_.pop_front();
}

History Histories::find(std::uint64_t cookie) const {
  const auto it = all_.find(cookie);
  return it == all_.end() ? History() : it->second;
}

}  // namespace sockmi::tcp
