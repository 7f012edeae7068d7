// Turns a socket in repair mode into a connection: addresses, sequence numbers, the
// negotiated options, windows.
#pragma once

#include <cstddef>

#include "base/address.h"
#include "base/error.h"
#include "wire/tcp_generated.h"

namespace sockmi::tcp {

FourTuple tuple_of(const wire::TcpT& image);
Result<> bind_local(int fd, const SocketAddress& local);
// Establishes a connection without a packet. The sequence numbers are set to the
// positions in front of the queues, which are to be filled next, and in front of a sample
// that the socket is to receive before them (overhead.h).
Result<> connect_silently(int fd, const wire::TcpT& image, std::size_t sample);
Result<> restore_windows(int fd, const wire::TcpT& image);

}  // namespace sockmi::tcp
