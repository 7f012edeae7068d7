// Sizes the buffers of a restored socket. The kernel doubles a size that is set, to
// account for its own overhead; all sizes here are as they are read. An odd size, which
// only autotuning chooses, loses a byte by that.
#pragma once

#include <cstddef>

#include "wire/tcp_generated.h"

namespace sockmi::tcp {

enum class Buffer { Receive, Send };

class Buffers {
 public:
  Buffers() = default;
  Buffers(int fd, const wire::TcpT& image);

  // Enlarges a buffer temporarily, so that the queue fits. May exceed rmem_max and
  // wmem_max with CAP_NET_ADMIN in the initial user namespace. Returns true if the buffer
  // is larger now.
  bool grow(Buffer buffer, std::size_t least);
  // Restores the application's buffer size. Otherwise a temporarily enlarged buffer would
  // be filled by the application or by the peer, be captured, and be doubled again by the
  // next migration.
  void shrink(Buffer buffer);
  // Restores both sizes, and autotuning as the owner had it; setting a size switches
  // autotuning off.
  void settle();
  std::size_t size(Buffer buffer) const;

 private:
  void set(Buffer buffer, std::size_t bytes);

  int fd_ = -1;  // borrowed
  std::size_t owners_[2] = {};
  int lock_ = 0;  // the owner's SO_BUF_LOCK
  bool touched_ = false;
};

// Returns the memory that the receive queue uses now, overhead included.
std::size_t received_memory(int fd);

}  // namespace sockmi::tcp
