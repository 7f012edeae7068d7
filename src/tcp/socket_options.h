// getsockopt(2) and setsockopt(2) with values of one type, and what of an application's options goes into an image.
#pragma once

#include <sys/socket.h>

#include <memory>
#include <vector>

#include "base/error.h"
#include "base/secret.h"
#include "wire/tcp_generated.h"
#include "tcp/option_table.h"

namespace sockmi::tcp {

template <class T>
Result<> set(int fd, int level, int name, const T& value, const char* what) {
  if (::setsockopt(fd, level, name, &value, sizeof value) != 0) return fail_errno(what);
  return {};
}

template <class T>
Result<T> get(int fd, int level, int name, const char* what) {
  T value{};
  socklen_t size = sizeof value;
  if (::getsockopt(fd, level, name, &value, &size) != 0) return fail_errno(what);
  return value;
}

Result<> set_repair(int fd, int mode);            // TCP_REPAIR_ON, _OFF, _OFF_NO_WP
Result<> select_queue(int fd, int queue);         // TCP_NO_QUEUE, TCP_RECV_QUEUE, TCP_SEND_QUEUE
Result<std::uint32_t> queue_sequence(int fd, int queue);

// What poll(2) says of the descriptor now.
int poll_now(int fd, short events);

using Settings = std::vector<std::unique_ptr<wire::SocketOptionT>>;
// What the table says moves: only the application changes it. `passive`: the socket is bound or listening.
Settings read_settings(int fd, int family, bool passive);
// What is a field of the image besides, and the kernel changes too: congestion control, the sizes of buffers and window; and O_NONBLOCK.
void capture_options(int fd, wire::TcpT& image);
void add_option(wire::TcpT& image, int level, int name, ByteView value);
// An option that this kernel can not set is not worth a connection; it is logged.
void restore_options(int fd, const wire::TcpT& image, When when);

void restore_congestion_control(int fd, const wire::TcpT& image);
// Lets a socket have an address that is another host's.
Result<> set_transparent(int fd, int family);

}  // namespace sockmi::tcp
