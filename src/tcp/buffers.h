// The sizes of a restored socket's buffers. The kernel doubles what it is given, to account for its own overhead; here every size is as it is read.
// An odd one, which only autotuning chooses, loses a byte by that.
#pragma once

#include <cstddef>

#include "wire/tcp_generated.h"

namespace sockmi::tcp {

enum class Buffer { Receive, Send };

class Buffers {
 public:
  Buffers() = default;
  Buffers(int fd, const wire::TcpT& image);

  // For a while, to put the queues in. Beyond rmem_max and wmem_max with CAP_NET_ADMIN in the initial user namespace. Whether it is larger now.
  bool grow(Buffer buffer, std::size_t least);
  // The owner's size again: kept, a larger one would be filled by the application, or by the peer, captured, and doubled by the next move.
  void shrink(Buffer buffer);
  // Both, and autotuning as he had it, which setting a size switches off.
  void settle();
  std::size_t size(Buffer buffer) const;

 private:
  void set(Buffer buffer, std::size_t bytes);

  int fd_ = -1;  // borrowed
  std::size_t owners_[2] = {};
  int lock_ = 0;  // the owner's SO_BUF_LOCK
  bool touched_ = false;
};

// What the receive queue takes now, overhead included.
std::size_t received_memory(int fd);

}  // namespace sockmi::tcp
