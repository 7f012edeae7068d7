// Makes a TCP socket out of an image.
#pragma once

#include "base/error.h"
#include "base/secret.h"
#include "base/unique_fd.h"
#include "image/tcp_generated.h"
#include "tcp/inject.h"
#include "tcp/late.h"

namespace sockmi::tcp {

// A restored endpoint, mute and deaf (the freeze mark) and in repair mode until thaw(). Destroying one that was not thawed discards it
// without a packet on the wire.
class Restored {
 public:
  // `transparent`: the local address is not this host's (IP_TRANSPARENT). Checks the image: EBADMSG if it can not be.
  static Result<Restored> restore(const image::TcpT& image, std::uint32_t freeze_mark, bool transparent);
  Restored(Restored&&) noexcept = default;
  Restored& operator=(Restored&&) = delete;
  ~Restored();

  int fd() const { return fd_.get(); }  // borrows
  // One live endpoint from here on: mark off, repair mode off (its window probe goes out), the unsent rest of the send queue written.
  Result<> receive(const Late& late, std::uint32_t inject_mark);
  Result<unique_fd> thaw(std::uint32_t = 0) &&;

 private:
  Restored() = default;
  unique_fd fd_;
  std::uint32_t owner_mark_ = 0;
  bool owner_reuse_address_ = false;
  std::size_t send_buffer_ = 0;  // the owner's SO_SNDBUF
  int buffer_lock_ = 0;          // and SO_BUF_LOCK
  Bytes unsent_;
  Segment next_;
};

}  // namespace sockmi::tcp
