// Segments by which all is acknowledged that a socket received while it was mute, when it is given back.
#pragma once

#include <optional>

#include "base/error.h"
#include "tcp/inject.h"
#include "tcp/socket_info.h"
#include "tcp/sequences.h"

namespace sockmi::tcp {

// What makes the socket acknowledge everything, as at the end of a move (see RestoredSocket::acknowledge()): for inject(). None if it would not find the socket.
// `sequences`: its own, where repair mode is to be avoided.
Result<std::optional<Segment>> old_segment(int fd, const Sequences* sequences);
// The acknowledgement of an end that came while the socket was mute: for speak(). `before`: what the socket was then. None if it has not ended so.
Result<std::optional<Segment>> last_acknowledgement(int fd, const SocketInfo& before);

}  // namespace sockmi::tcp
