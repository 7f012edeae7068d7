#include "proxy/tls_stream.h"

#include <openssl/err.h>
#include <sockmi/appsockmi.h>
#include <sys/socket.h>

namespace sockmi::proxy {

using Kind = Outcome::Kind;

namespace {

constexpr const char* kHandshakeFailed = "TLS handshake failed";

}  // namespace

Result<std::unique_ptr<TlsStream>> TlsStream::open(unique_fd fd, SslPointer ssl) {
  if (!ssl) return fail_openssl(ENOMEM, "cannot make an SSL");
  if (sockmi_set_fd(ssl.get(), fd.get()) != 0)
    return fail(errno, "cannot give the SSL its socket: {}", sockmi_last_error());
  return std::unique_ptr<TlsStream>(new TlsStream(std::move(fd), std::move(ssl)));
}

std::unique_ptr<TlsStream> TlsStream::adopt(unique_fd fd, SslPointer ssl) {
  return std::unique_ptr<TlsStream>(new TlsStream(std::move(fd), std::move(ssl)));
}

// A reset is an error of the system call, but an end without close_notify is one of TLS.
Outcome TlsStream::after_ssl(int result, const char* what) {
  const int code = errno;
  switch (SSL_get_error(ssl_.get(), result)) {
    case SSL_ERROR_WANT_READ: return {Kind::WantsRead};
    case SSL_ERROR_WANT_WRITE: return {Kind::WantsWrite};
    case SSL_ERROR_ZERO_RETURN: return {Kind::Ended};
    case SSL_ERROR_SYSCALL:
      if (code == 0) return {Kind::Truncated};
      note_broken(code);
      errno = code;
      return failed(fail_errno(what).error());
    default: break;
  }
  if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
    ERR_clear_error();
    return {Kind::Truncated};
  }
  return failed(fail_openssl(EPROTO, what).error());
}

Outcome TlsStream::handshake() {
  ERR_clear_error();
  errno = 0;
  const int result = SSL_do_handshake(ssl_.get());
  const int code = result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), result);
  if (code == SSL_ERROR_NONE || code == SSL_ERROR_WANT_CLIENT_HELLO_CB) return {};
  const int reason = ERR_GET_REASON(ERR_peek_error());
  const Outcome outcome = after_ssl(result, kHandshakeFailed);
  switch (outcome.kind) {
    case Kind::WantsRead:
    case Kind::WantsWrite: return outcome;
    case Kind::Failed: return failed(handshake_error(reason));
    default:
      return failed(Error{ECONNRESET, "TLS handshake failed: the peer ended the connection"});
  }
}

// Adds to the error what libssl does not say in its queue.
Error TlsStream::handshake_error(int reason) const {
  if (reason == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL) return {EPROTONOSUPPORT, error().reason};
  if (const long verified = SSL_get_verify_result(ssl_.get()); verified != X509_V_OK)
    return {EPROTO,
            fmt::format("{}: {}", kHandshakeFailed, X509_verify_cert_error_string(verified))};
  return error();
}

Outcome TlsStream::read(std::span<std::uint8_t> into) {
  ERR_clear_error();
  errno = 0;
  std::size_t count = 0;
  const int result = SSL_read_ex(ssl_.get(), into.data(), into.size(), &count);
  if (result == 1) return {Kind::Done, count};
  const Outcome outcome = after_ssl(result, "cannot receive by TLS");
  return outcome.kind == Kind::Truncated ? at_end(Kind::Truncated) : outcome;
}

// One call of SSL_write_ex() writes one record.
Outcome TlsStream::write(ByteView bytes) {
  std::size_t written = 0;
  while (written < bytes.size()) {
    ERR_clear_error();
    errno = 0;
    std::size_t count = 0;
    const int result =
        SSL_write_ex(ssl_.get(), bytes.data() + written, bytes.size() - written, &count);
    if (result != 1) {
      const Outcome outcome = after_ssl(result, "cannot send by TLS");
      // The next call says it again.
      if (written > 0) break;
      if (outcome.kind != Kind::Ended && outcome.kind != Kind::Truncated) return outcome;
      return failed(Error{EPIPE, "cannot send by TLS: the connection has ended"});
    }
    written += count;
  }
  return {Kind::Done, written};
}

Outcome TlsStream::flush() {
  BIO* bio = SSL_get_wbio(ssl_.get());
  if (BIO_wpending(bio) == 0) return {};
  errno = 0;
  (void)BIO_flush(bio);  // says nothing of an error
  if (BIO_wpending(bio) == 0) return {};
  return after_errno("cannot send by TLS", Kind::WantsWrite);
}

Outcome TlsStream::end_output(bool truncated) {
  if (!truncated && !notified_) {
    ERR_clear_error();
    errno = 0;
    const int result = SSL_shutdown(ssl_.get());
    if (result < 0) {
      const Outcome outcome = after_ssl(result, "cannot end the TLS output");
      if (outcome.kind == Kind::WantsRead || outcome.kind == Kind::WantsWrite ||
          outcome.kind == Kind::Failed)
        return outcome;
    }
    notified_ = true;
  }
  if (::shutdown(fd(), SHUT_WR) != 0 && errno != ENOTCONN)
    return after_errno("cannot end the output", Kind::WantsWrite);
  return {};
}

}  // namespace sockmi::proxy
