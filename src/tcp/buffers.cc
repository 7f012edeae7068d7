#include "tcp/buffers.h"

#include <linux/sock_diag.h>
#include <linux/socket.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "tcp/option_table.h"
#include "tcp/socket_options.h"

namespace sockmi::tcp {
namespace {

constexpr struct {
  int plain, force;
  std::uint32_t lock;
} kNames[] = {{SO_RCVBUF, SO_RCVBUFFORCE, SOCK_RCVBUF_LOCK},
              {SO_SNDBUF, SO_SNDBUFFORCE, SOCK_SNDBUF_LOCK}};

// Requires Linux 5.16. Before that, a size that has been set remains set.
bool can_unlock(int fd) {
  static const bool can = get<int>(fd, SOL_SOCKET, SO_BUF_LOCK, "SO_BUF_LOCK").has_value();
  return can;
}

}  // namespace

Buffers::Buffers(int fd, const wire::TcpT& image) : fd_(fd) {
  for (const auto& option : image.options) {
    if (!option || option->level != SOL_SOCKET || option->value.size() != sizeof(int)) continue;
    int value;
    std::memcpy(&value, option->value.data(), sizeof value);
    for (const int i : {0, 1}) {
      if (option->name == kNames[i].plain)
        owners_[i] = static_cast<std::size_t>(std::max(0, value));
    }
    if (option->name == SO_BUF_LOCK) lock_ = value & (SOCK_SNDBUF_LOCK | SOCK_RCVBUF_LOCK);
  }
}

std::size_t Buffers::size(Buffer buffer) const {
  return static_cast<std::size_t>(
      get<int>(fd_, SOL_SOCKET, kNames[int(buffer)].plain, "buffer size").value_or(0));
}

void Buffers::set(Buffer buffer, std::size_t bytes) {
  const int half = static_cast<int>(bytes / 2);
  touched_ = true;
  if (::setsockopt(fd_, SOL_SOCKET, kNames[int(buffer)].force, &half, sizeof half) != 0)
    (void)::setsockopt(fd_, SOL_SOCKET, kNames[int(buffer)].plain, &half, sizeof half);
}

bool Buffers::grow(Buffer buffer, std::size_t least) {
  const std::size_t before = size(buffer);
  if (before >= least) return false;
  set(buffer, std::max(least, owners_[int(buffer)]));
  return size(buffer) > before;
}

void Buffers::shrink(Buffer buffer) {
  const std::size_t owners = owners_[int(buffer)], now = size(buffer);
  if (owners == 0 || now == owners) return;
  if (!touched_ && !can_unlock(fd_) && !(lock_ & kNames[int(buffer)].lock)) return;
  const std::size_t least = buffer == Buffer::Receive && now > owners ? received_memory(fd_) : 0;
  if (now > least) set(buffer, std::max(owners, least));
}

void Buffers::settle() {
  shrink(Buffer::Receive);
  shrink(Buffer::Send);
  if (touched_ || lock_ != 0) (void)tcp::set(fd_, SOL_SOCKET, SO_BUF_LOCK, lock_, "SO_BUF_LOCK");
}

std::size_t received_memory(int fd) {
  std::uint32_t memory[SK_MEMINFO_VARS] = {};
  socklen_t size = sizeof memory;
  return ::getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) == 0
             ? memory[SK_MEMINFO_RMEM_ALLOC]
             : 0;
}

}  // namespace sockmi::tcp
