// Bytes are counted where they are read, and so a hop becomes due there. Usually there
// are then bytes in the relay, a record that is read in part, or an SSL_write that the
// socket has interrupted. All of that has to arrive at the next mover.
#include "relay.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include <openssl/err.h>

#include "handshake.h"
#include "sockets.h"

namespace mover {
namespace {

constexpr std::size_t kRoom = 1 << 16;  // for each direction
constexpr std::size_t kPiece = 1 << 14;

}  // namespace

// Handles an SSL call that did not do all. Returns false, and records what it waits for.
bool Relay::not_done(int result) {
  switch (SSL_get_error(c_.ssl.get(), result)) {
    case SSL_ERROR_WANT_READ: return false;
    case SSL_ERROR_WANT_WRITE: wants_write_ = true; return false;
    case SSL_ERROR_ZERO_RETURN: tls_ended_ = true; return false;
    case SSL_ERROR_SYSCALL: break;
    default:
      if (ERR_GET_REASON(ERR_peek_error()) != SSL_R_UNEXPECTED_EOF_WHILE_READING)
        fail_openssl("TLS");
  }
  if (!tls_ended_) std::fputs("the peer closed without close_notify\n", stderr);
  tls_ended_ = tls_gone_ = true;
  return false;
}

bool Relay::read_plain() {
  char piece[kPiece];
  const std::size_t room = std::min<std::uint64_t>({kRoom - c_.to_tls.size(), sizeof piece, left_});
  if (c_.plain_ended || room == 0) return false;
  const ssize_t got = ::recv(c_.plain.get(), piece, room, 0);
  if (got < 0 && errno == EAGAIN) return false;
  if (got <= 0) {
    c_.plain_ended = true;
    return true;
  }
  c_.to_tls.append(piece, static_cast<std::size_t>(got));
  left_ -= static_cast<std::uint64_t>(got);
  return true;
}

bool Relay::write_plain() {
  if (!c_.to_plain.empty() && !plain_gone_) {
    const ssize_t sent =
        ::send(c_.plain.get(), c_.to_plain.data(), c_.to_plain.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) return false;
    plain_gone_ = sent < 0;
    if (sent > 0) c_.to_plain.erase(0, static_cast<std::size_t>(sent));
    return true;
  }
  if (!tls_ended_ || plain_shut_) return false;
  ::shutdown(c_.plain.get(), SHUT_WR);
  return plain_shut_ = true;
}

bool Relay::read_tls() {
  char piece[kPiece];
  const std::size_t room =
      std::min<std::uint64_t>({kRoom - c_.to_plain.size(), sizeof piece, left_});
  if (tls_ended_ || room == 0) return false;
  ERR_clear_error();
  const int got = SSL_read(c_.ssl.get(), piece, static_cast<int>(room));
  if (got <= 0) return not_done(got);
  c_.to_plain.append(piece, static_cast<std::size_t>(got));
  left_ -= static_cast<std::uint64_t>(got);
  return true;
}

bool Relay::write_tls() {
  if (tls_gone_ || close_sent_) return false;
  ERR_clear_error();
  if (!c_.to_tls.empty()) {
    const int taken = SSL_write(c_.ssl.get(), c_.to_tls.data(), static_cast<int>(c_.to_tls.size()));
    if (taken <= 0) return not_done(taken);
    c_.to_tls.erase(0, static_cast<std::size_t>(taken));
    return true;
  }
  if (!c_.plain_ended) return false;
  const int closed = SSL_shutdown(c_.ssl.get());
  if (closed < 0) return not_done(closed);
  return close_sent_ = true;
}

bool Relay::over() const {
  return plain_gone_ || (plain_shut_ && (tls_gone_ || close_sent_));
}

void Relay::wait() const {
  // The rest of a record that the last mover's socket had not accepted is in the BIO, and
  // no SSL call waits for it.
  const bool unsent = BIO_wpending(SSL_get_wbio(c_.ssl.get())) > 0;
  const auto when = [](bool wanted, int event) {
    return static_cast<short>(wanted ? event : 0);
  };
  pollfd polled[] = {{c_.tls.get(),
                      static_cast<short>(when(!tls_ended_ && c_.to_plain.size() < kRoom, POLLIN) |
                                         when(wants_write_ || unsent, POLLOUT)),
                      0},
                     {c_.plain.get(),
                      static_cast<short>(when(!c_.plain_ended && c_.to_tls.size() < kRoom, POLLIN) |
                                         when(!c_.to_plain.empty(), POLLOUT)),
                      0}};
  // A dead end reports POLLHUP even if no event is requested.
  for (pollfd& each : polled)
    if (each.events == 0) each.fd = -1;
  if (::poll(polled, 2, -1) < 0 && errno != EINTR) fail_errno("poll");
}

Relay::Outcome Relay::run() {
  for (;;) {
    wants_write_ = false;
    const bool wrote = write_tls(), read = read_tls(), filled = read_plain(),
               emptied = write_plain();
    if (over()) return Outcome::ended;
    if (left_ == 0) {
      // A connection that is being closed does not move.
      if (!tls_ended_ && SSL_get_shutdown(c_.ssl.get()) == 0) return Outcome::hop_due;
      left_ = UINT64_MAX;
    } else if (!(wrote || read || filled || emptied)) {
      wait();
      (void)BIO_flush(SSL_get_wbio(c_.ssl.get()));
    }
  }
}

}  // namespace mover
