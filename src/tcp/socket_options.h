// getsockopt(2) and setsockopt(2) with values of one type, and the table of options that an application may have set.
#pragma once

#include <sys/socket.h>

#include "base/error.h"
#include "image/tcp_generated.h"

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

// What the application set: read into, and out of, the image. Options this kernel does not know are left out.
void capture_options(int fd, image::TcpT& image);
// ENOTSUP for none: an option that can't be set here is not worth a connection; it is logged.
void restore_options(int fd, const image::TcpT& image);

}  // namespace sockmi::tcp
