// The kernel shows this queue only while it is selected, and while it is selected,
// send(2) calls of other threads continue (their bytes are put behind it, though they
// count as sent). So a read is valid only if nobody has written in the meantime. Writers
// that do not pause are blocked by a full send buffer; for them this is not an error, and
// they continue when the buffer has its size again.
#include "tcp/send_queue.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#include <optional>

#include "tcp/queues.h"
#include "tcp/send_buffer.h"
#include "tcp/socket_options.h"
#include "tcp/states.h"
#include "tcp/stream_positions.h"

namespace sockmi::tcp {
namespace {

constexpr int kMaxSendQueueReadings = 200;

// Returns nothing if another thread has written, or if something was acknowledged.
Result<std::optional<SendQueue>> try_to_read(int fd) {
  TRY_LET(before, Place::of(fd));
  TRY_LET(sequence, queue_sequence(fd, TCP_SEND_QUEUE));
  TRY_LET(outstanding, queued(fd, SIOCOUTQ, "SIOCOUTQ"));
  const std::uint32_t fin = has_sent_fin(before.state) && outstanding > 0;
  auto bytes = peek_unacknowledged(fd, outstanding - fin);
  TRY_LET(sequence_after, queue_sequence(fd, TCP_SEND_QUEUE));
  TRY(select_queue(fd, TCP_NO_QUEUE));
  TRY_LET(after, Place::of(fd));
  const bool steady = sequence == sequence_after && before.written == after.written &&
                      before.acknowledged == after.acknowledged && before.state == after.state;
  if (!steady) return std::nullopt;
  if (!bytes) return std::unexpected(bytes.error());
  return SendQueue{sequence - has_sent_fin(after.state), after.written, std::move(*bytes)};
}

}  // namespace

Result<SendQueue> read_send_queue(int fd) {
  std::optional<SendBuffer> full;
  for (int attempt = 0; attempt < kMaxSendQueueReadings; ++attempt) {
    TRY_LET(queue, try_to_read(fd));
    if (queue) return std::move(*queue);
    if (!full) (void)full.emplace(fd).resize(1);
  }
  return fail(EAGAIN, "application writes without a pause; try again");
}

}  // namespace sockmi::tcp
