// What of a frozen socket can be captured outside repair mode, in which calls of its owner fail: all but the send queue, which is left to the last look
// (FreezeDelta::written, FreezeDelta::sent).
#pragma once

#include <linux/tcp.h>

#include <optional>

#include "base/error.h"
#include "wire/tcp_generated.h"
#include "tcp/pre_copy.h"
#include "tcp/stream_positions.h"
#include "tcp/sequences.h"

namespace sockmi::tcp {

// Whether that is so of a mute socket: one in ESTABLISHED, on Linux 6.2 or later. Of one that is in use, little waits in the send queue; of another, nothing:
// the importer, who does not have it until COMMIT, does not take what the peer sends with its acknowledgement meanwhile.
bool can_stay_outside(int fd, bool in_use);

// What had left (of a socket that has just fallen mute), as Place counts: from now on nothing leaves.
Result<std::uint64_t> look_at_sent(int fd);

void describe(wire::TcpT& image, const tcp_info& info);

// Where it stood. `announced`: what the peer was told of the receive window, where that is known. None: it can not stay outside any more. EAGAIN: it does
// not come to rest.
Result<std::optional<Place>> capture_outside(int fd, wire::TcpT& image, PreCopyRange* ahead, const Sequences& sequences, const std::optional<wire::Window>& announced);

}  // namespace sockmi::tcp
