// The size of a socket's send buffer, changed for a while.
#pragma once

#include <cstddef>

namespace sockmi::tcp {

class SendBuffer {
 public:
  explicit SendBuffer(int fd);
  SendBuffer(const SendBuffer&) = delete;
  ~SendBuffer();  // it is as its owner had it

  std::size_t owners() const { return static_cast<std::size_t>(size_); }
  // Whether it is so large now, or as small as the kernel allows. Not where the kernel could not be told to forget it (before Linux 5.16, a size that was
  // set stays set).
  bool resize(std::size_t bytes);

 private:
  const int fd_, size_, lock_;
  bool touched_ = false;
};

}  // namespace sockmi::tcp
