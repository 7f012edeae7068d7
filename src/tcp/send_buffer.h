// Changes the size of a socket's send buffer temporarily.
#pragma once

#include <cstddef>

namespace sockmi::tcp {

class SendBuffer {
 public:
  explicit SendBuffer(int fd);
  SendBuffer(const SendBuffer&) = delete;
  ~SendBuffer();  // restores the owner's size

  std::size_t owners() const { return static_cast<std::size_t>(size_); }
  // Returns true if the buffer now has this size, or the smallest size that the kernel
  // allows. Has no effect before Linux 5.16, where a size that was set remains set.
  bool resize(std::size_t bytes);

 private:
  const int fd_, size_, lock_;
  bool touched_ = false;
};

}  // namespace sockmi::tcp
