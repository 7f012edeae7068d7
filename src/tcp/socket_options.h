// Typed getsockopt(2) and setsockopt(2), and the part of an application's options that is
// in an image.
#pragma once

#include <sys/socket.h>

#include <memory>
#include <vector>

#include "base/error.h"
#include "base/secret.h"
#include "tcp/option_table.h"
#include "wire/tcp_generated.h"

namespace sockmi::tcp {

// How often values that must belong together are read, while the kernel or the
// application changes them, before a call gives up with EAGAIN.
constexpr int kMaxReadings = 100;

template <class T>
Result<> set(int fd, int level, int name, const T& value, const char* what) {
  if (::setsockopt(fd, level, name, &value, sizeof value) != 0)
    return fail_errno(std::string("cannot set ") + what);
  return {};
}

template <class T>
Result<T> get(int fd, int level, int name, const char* what) {
  T value{};
  socklen_t size = sizeof value;
  if (::getsockopt(fd, level, name, &value, &size) != 0)
    return fail_errno(std::string("cannot read ") + what);
  return value;
}

Result<> set_repair(int fd, int mode);     // TCP_REPAIR_ON, _OFF, _OFF_NO_WP
Result<> select_queue(int fd, int queue);  // TCP_NO_QUEUE, TCP_RECV_QUEUE, TCP_SEND_QUEUE
Result<std::uint32_t> queue_sequence(int fd, int queue);

// Returns what poll(2) reports for the descriptor now.
int poll_now(int fd, short events);

using Settings = std::vector<std::unique_ptr<wire::SocketOptionT>>;
// Reads the options that move according to the table; only the application changes them.
// `passive`: the socket is bound or listening.
Settings read_settings(int fd, int family, bool passive);
// Captures what has a field in the image as well, and what the kernel changes too:
// congestion control, the sizes of buffers and window; also O_NONBLOCK.
void capture_options(int fd, wire::TcpT& image);
void add_option(wire::TcpT& image, int level, int name, ByteView value);
// Sets the options of the image. An option that this kernel cannot set is logged; it does
// not fail the connection.
void restore_options(int fd, const wire::TcpT& image, When when);

void restore_congestion_control(int fd, const wire::TcpT& image);
// Allows a socket to have another host's address.
Result<> set_transparent(int fd, int family);

}  // namespace sockmi::tcp
