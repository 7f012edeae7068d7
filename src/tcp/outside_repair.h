// Captures a frozen socket outside repair mode, because repair mode makes calls of its
// owner fail. Captures everything but the send queue, which is left to the last look
// (FreezeDelta::written, FreezeDelta::sent).
#pragma once

#include <linux/tcp.h>

#include <optional>

#include "base/error.h"
#include "tcp/pre_copy.h"
#include "tcp/sequences.h"
#include "tcp/stream_positions.h"
#include "wire/tcp_generated.h"

namespace sockmi::tcp {

// Returns true if a frozen socket can be captured in this way. It must be in ESTABLISHED,
// on Linux 6.2 or later. If it is in use, its send queue may hold a little data;
// otherwise none. The importer does not have the send queue until COMMIT, and until then
// refuses what the peer sends together with an acknowledgement of it.
bool can_stay_outside(int fd, bool in_use);

// Returns what had left a socket that has just been frozen, as a position of Place. From
// then on nothing leaves it.
Result<std::uint64_t> look_at_sent(int fd);

void describe(wire::TcpT& image, const tcp_info& info);

// Returns the position of the socket at the capture. `announced`: the receive window that
// the peer has been told, if it is known. None if repair mode can no longer be avoided.
// Errors: EAGAIN if the socket does not come to rest.
Result<std::optional<Place>> capture_outside(int fd, wire::TcpT& image, PreCopyRange* pre_copied,
                                             const Sequences& sequences,
                                             const std::optional<wire::Window>& announced);

}  // namespace sockmi::tcp
