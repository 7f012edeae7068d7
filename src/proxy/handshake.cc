#include "proxy/handshake.h"

namespace sockmi::proxy {

namespace asio = boost::asio;

asio::awaitable<Result<>> wait_for(const Stream& stream, Outcome::Kind kind,
                                   Clock::time_point deadline) {
  const auto what = kind == Outcome::Kind::WantsWrite ? Watched::Descriptor::wait_write
                                                      : Watched::Descriptor::wait_read;
  if (!co_await wait_ready(stream.fd(), what, deadline))
    co_return fail(ETIMEDOUT, "the peer has not begun the connection in time");
  co_return Result<>();
}

asio::awaitable<Result<>> shake_hands(TlsStream& stream, Clock::time_point deadline) {
  for (;;) {
    const Outcome outcome = stream.handshake();
    if (outcome.kind == Outcome::Kind::Done) co_return Result<>();
    if (outcome.kind == Outcome::Kind::Failed) co_return std::unexpected(stream.error());
    CO_TRY(co_await wait_for(stream, outcome.kind, deadline));
  }
}

}  // namespace sockmi::proxy
