// One relayed connection: everything that a mover gives to the next mover.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <sockmi/appsockmi.h>

namespace mover {

// An error that ends a mover with exit status 1.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

struct SslFree {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using SslPtr = std::unique_ptr<SSL, SslFree>;

struct Connection {
  Fd tls, plain;  // non-blocking
  SslPtr ssl;
  bool plain_ended = false;      // the plain end has sent its last byte
  std::string to_tls, to_plain;  // read from one end, not yet accepted by the other
  std::uint64_t hops = 0;
};

}  // namespace mover
