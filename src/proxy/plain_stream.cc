#include <sys/socket.h>

#include "proxy/stream.h"

namespace sockmi::proxy {

void Stream::reset_at_close() {
  const linger at_once{1, 0};
  (void)::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

Outcome Stream::failed(Error error) {
  error_ = std::move(error);
  return {Outcome::Kind::Failed};
}

Outcome Stream::after_errno(const char* what, Outcome::Kind if_blocked) {
  if (errno == EAGAIN || errno == EWOULDBLOCK) return {if_blocked};
  note_broken(errno);
  return failed(fail_errno(what).error());
}

Outcome Stream::at_end(Outcome::Kind kind) {
  if (broken_) return failed(Error{ECONNRESET, "the connection has broken"});
  return {kind};
}

Outcome PlainStream::read(std::span<std::uint8_t> into) {
  ssize_t count;
  do {
    count = ::recv(fd(), into.data(), into.size(), 0);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return after_errno("cannot receive", Outcome::Kind::WantsRead);
  if (count == 0) return at_end(Outcome::Kind::Ended);
  return {Outcome::Kind::Done, static_cast<std::size_t>(count)};
}

Outcome PlainStream::write(ByteView bytes) {
  ssize_t count;
  do {
    count = ::send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  } while (count < 0 && errno == EINTR);
  if (count < 0) return after_errno("cannot send", Outcome::Kind::WantsWrite);
  return {Outcome::Kind::Done, static_cast<std::size_t>(count)};
}

Outcome PlainStream::end_output(bool) {
  if (::shutdown(fd(), SHUT_WR) != 0 && errno != ENOTCONN)
    return after_errno("cannot end the output", Outcome::Kind::WantsWrite);
  return {};
}

}  // namespace sockmi::proxy
