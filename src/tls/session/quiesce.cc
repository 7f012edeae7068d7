// Brings an SSL to a state in which it can be saved. An SSL can be saved between two
// records, but not within one, and before or after its handshake, but not during it. An
// SSL in any other state normally reaches such a state soon, so an export waits a moment
// for it.
#include <fcntl.h>
#include <poll.h>

#include <openssl/err.h>

#include "tls/tls.h"

namespace sockmi::tls {
namespace {

using Clock = std::chrono::steady_clock;

// Makes the descriptor non-blocking, so that libssl does not block longer than
// `patience`. The destructor restores the flags.
class NonBlocking {
 public:
  explicit NonBlocking(int fd) : fd_(fd), flags_(::fcntl(fd, F_GETFL)) {
    if (flags_ >= 0 && !(flags_ & O_NONBLOCK)) ::fcntl(fd_, F_SETFL, flags_ | O_NONBLOCK);
  }
  NonBlocking(const NonBlocking&) = delete;
  ~NonBlocking() {
    if (flags_ >= 0 && !(flags_ & O_NONBLOCK)) ::fcntl(fd_, F_SETFL, flags_);
  }

 private:
  int fd_, flags_;
};

}  // namespace

Result<> quiesce(SSL* ssl, std::chrono::milliseconds patience) {
  const auto unsettled = [ssl] {
    return phase(ssl) == Phase::InHandshake ||
           (phase(ssl) == Phase::Established && in_mid_record(ssl));
  };
  if (!unsettled()) return {};
  const int fd = SSL_get_fd(ssl);
  if (fd < 0) return fail(EINVAL, "SSL has no descriptor");
  const NonBlocking guard(fd);
  for (const auto deadline = Clock::now() + patience;;) {
    ERR_clear_error();
    // Peeking removes nothing: a complete record is decrypted and stays unread for the
    // application.
    char byte;
    const int result =
        phase(ssl) == Phase::InHandshake ? SSL_do_handshake(ssl) : SSL_peek(ssl, &byte, 1);
    const int error = SSL_get_error(ssl, result);
    if (!unsettled()) return {};
    if (error != SSL_ERROR_NONE && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
      return fail_openssl(EPROTO, "cannot finish the SSL's output before the export");
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) {
      return fail(EAGAIN, "{}",
                  phase(ssl) == Phase::InHandshake ? "handshake is not finished"
                                                   : "a record is not complete");
    }
    pollfd wait{.fd = fd,
                .events = static_cast<short>(error == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN),
                .revents = 0};
    ::poll(&wait, 1, static_cast<int>(left));
  }
}

}  // namespace sockmi::tls
