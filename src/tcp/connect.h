// A socket in repair mode that the kernel takes for a connection: addresses, sequence numbers, what the handshake had negotiated, windows.
#pragma once

#include <cstddef>

#include "base/address.h"
#include "base/error.h"
#include "image/tcp_generated.h"

namespace sockmi::tcp {

FourTuple tuple_of(const image::TcpT& image);
Result<> bind_local(int fd, const SocketAddress& local);
// An established connection without a packet. Sequence numbers are those in front of the queues, which are to be filled now, and of a sample that the
// socket is to receive before (overhead.h).
Result<> connect_silently(int fd, const image::TcpT& image, std::size_t sample);
Result<> restore_windows(int fd, const image::TcpT& image);

}  // namespace sockmi::tcp
