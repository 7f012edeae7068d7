// Makes an unfrozen socket acknowledge what it received while it was frozen.
#pragma once

#include <optional>

#include "base/error.h"
#include "tcp/inject.h"
#include "tcp/sequences.h"
#include "tcp/socket_info.h"

namespace sockmi::tcp {

// Returns a segment for inject() that makes the socket acknowledge everything, as at the
// end of a migration (see RestoredSocket::acknowledge()). None if the segment would not
// reach the socket. `sequences`: the socket's, if repair mode is to be avoided; else
// null.
Result<std::optional<Segment>> old_segment(int fd, const Sequences* sequences);
// Returns, for send_to_peer(), the acknowledgement of a FIN that ended the connection
// while the socket was frozen. `before`: the socket's state at the freeze. None if the
// connection has not ended in this way.
Result<std::optional<Segment>> last_acknowledgement(int fd, const SocketInfo& before);

}  // namespace sockmi::tcp
