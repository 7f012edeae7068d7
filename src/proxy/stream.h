// One leg of a proxied connection as a byte stream that never waits: over TCP, a Unix
// socket, or TLS. A stream owns its socket.
//
// A call does what is possible now. If that is nothing, it says for which readiness of
// the socket the caller has to wait; so nothing is under way in a stream between two
// calls.
#pragma once

#include <cerrno>
#include <cstdint>
#include <span>

#include <openssl/types.h>

#include "base/error.h"
#include "base/secret.h"
#include "base/unique_fd.h"

namespace sockmi::proxy {

struct Outcome {
  enum class Kind : std::uint8_t {
    Done,        // `bytes` were read or written, or the end was sent
    WantsRead,   // nothing was possible until the socket is readable
    WantsWrite,  // … writable
    Ended,       // read() only: nothing follows
    Truncated,   // read() only: nothing follows, and the peer did not say that this is the end
    Failed,      // see error()
  };
  Kind kind = Kind::Done;
  std::size_t bytes = 0;
};

class Stream {
 public:
  explicit Stream(unique_fd fd) : fd_(std::move(fd)) {}
  virtual ~Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  virtual Outcome read(std::span<std::uint8_t> into) = 0;
  // After WantsRead or WantsWrite the next call has the same bytes, and perhaps more.
  virtual Outcome write(ByteView bytes) = 0;
  // Sends what the stream itself still has to send when it has taken all bytes.
  virtual Outcome flush() { return {}; }
  // Tells the peer that nothing follows; with `truncated`, in a way that the peer does
  // not take for the end of the data, if there is one.
  virtual Outcome end_output(bool truncated) = 0;

  // The TLS of this leg; nullptr: none.
  virtual SSL* ssl() { return nullptr; }
  int fd() const { return fd_.get(); }
  // Gives the socket away; the stream must not be used any more.
  unique_fd take_socket() { return std::move(fd_); }
  const Error& error() const { return error_; }
  // Makes the end of the socket a reset, so that the peer does not take it for the end of
  // the data.
  void reset_at_close();

 protected:
  // Returns Failed, and keeps the error.
  Outcome failed(Error error);
  // Returns what the failure of the last system call means.
  Outcome after_errno(const char* what, Outcome::Kind if_blocked);
  // Keeps that the connection has broken. A failed write takes the error out of the
  // socket, and what is read afterwards looks like an end. EPIPE: the peer had ended its
  // output before.
  void note_broken(int code) { broken_ = broken_ || (code != 0 && code != EPIPE); }
  // What an end of the input means.
  Outcome at_end(Outcome::Kind kind);

  unique_fd fd_;

 private:
  Error error_;
  bool broken_ = false;
};

// A socket without TLS.
class PlainStream : public Stream {
 public:
  using Stream::Stream;
  Outcome read(std::span<std::uint8_t> into) override;
  Outcome write(ByteView bytes) override;
  Outcome end_output(bool truncated) override;
};

}  // namespace sockmi::proxy
