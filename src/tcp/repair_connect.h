// A socket in repair mode that the kernel takes for a connection: addresses, sequence numbers, what the handshake had negotiated, windows.
#pragma once

#include <cstddef>

#include "base/address.h"
#include "base/error.h"
#include "wire/tcp_generated.h"

namespace sockmi::tcp {

FourTuple tuple_of(const wire::TcpT& image);
Result<> bind_local(int fd, const SocketAddress& local);
// An established connection without a packet. Sequence numbers are those in front of the queues, which are to be filled now, and of a sample that the
// socket is to receive before (overhead.h).
Result<> connect_silently(int fd, const wire::TcpT& image, std::size_t sample);
Result<> restore_windows(int fd, const wire::TcpT& image);

}  // namespace sockmi::tcp
