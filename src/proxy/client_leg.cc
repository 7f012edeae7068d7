#include "proxy/client_leg.h"

#include "proxy/client_hello.h"
#include "proxy/proxy_header.h"
#include "proxy/ready.h"

namespace sockmi::proxy {
namespace {

namespace asio = boost::asio;

asio::awaitable<Result<>> wait_for(const Stream& stream, Outcome::Kind kind,
                                   Clock::time_point deadline) {
  const auto what = kind == Outcome::Kind::WantsWrite ? Watched::Descriptor::wait_write
                                                      : Watched::Descriptor::wait_read;
  if (!co_await wait_ready(stream.fd(), what, deadline))
    co_return fail(ETIMEDOUT, "the client is too slow before the connection begins");
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

// Returns the server name of the ClientHello. Its bytes, and what came with them, are
// pending afterwards.
asio::awaitable<Result<std::string>> receive_hello(Stream& stream, Direction& to_backend,
                                                   Clock::time_point deadline) {
  Bytes& pending = to_backend.pending;
  for (;;) {
    const std::size_t before = pending.size();
    pending.resize(kMaxClientHelloBytes);
    const Outcome in = stream.read(std::span(pending).subspan(before));
    pending.resize(before + in.bytes);
    if (in.kind == Outcome::Kind::Failed) co_return std::unexpected(stream.error());
    if (in.kind == Outcome::Kind::Ended)
      co_return fail(EPROTO, "the client ended the connection before its ClientHello");
    if (in.kind == Outcome::Kind::Done) {
      CO_TRY_LET(hello, read_client_hello(pending));
      if (hello) co_return std::move(hello->server_name);
    } else {
      CO_TRY(co_await wait_for(stream, in.kind, deadline));
    }
  }
}

// Reads the header of a proxy in front, and not a byte more: what follows may be TLS.
asio::awaitable<Result<>> receive_proxy_header(Stream& stream, RelayState& state,
                                               Clock::time_point deadline) {
  Bytes header;
  for (std::size_t missing = 1; missing > 0;) {
    const std::size_t before = header.size();
    header.resize(before + missing);
    const Outcome in = stream.read(std::span(header).subspan(before));
    header.resize(before + in.bytes);
    if (in.kind == Outcome::Kind::Failed) co_return std::unexpected(stream.error());
    if (in.kind == Outcome::Kind::Ended)
      co_return fail(EPROTO, "the header of the PROXY protocol is missing");
    if (in.kind == Outcome::Kind::Done) {
      CO_TRY_LET(read, read_proxy_header(header));
      missing = read.missing;
      if (missing == 0 && !read.client.ip.any()) {
        state.client = read.client;
        state.local = read.local;
      }
    } else {
      CO_TRY(co_await wait_for(stream, in.kind, deadline));
    }
  }
  co_return Result<>();
}

}  // namespace

asio::awaitable<Result<ClientLeg>> open_client_leg(unique_fd socket, const ListenerPlan& listener,
                                                   RelayState& state) {
  const auto deadline = Clock::now() + listener.config.handshake_timeout;
  ClientLeg leg;
  if (listener.config.proxy_protocol) {
    PlainStream plain(std::move(socket));
    CO_TRY(co_await receive_proxy_header(plain, state, deadline));
    socket = plain.take_socket();
  }
  if (listener.config.tls == TlsMode::Terminate) {
    CO_TRY_LET(stream, TlsStream::open(std::move(socket), listener.tls->new_ssl()));
    CO_TRY(co_await shake_hands(*stream, deadline));
    leg.service = listener.service_for(server_name_of(stream->ssl()));
    leg.stream = std::move(stream);
    co_return std::move(leg);
  }
  leg.stream = std::make_unique<PlainStream>(std::move(socket));
  std::string server_name;
  if (listener.config.tls == TlsMode::Pass) {
    CO_TRY_LET(name, co_await receive_hello(*leg.stream, state.to_backend, deadline));
    server_name = std::move(name);
  }
  leg.service = listener.service_for(server_name);
  co_return std::move(leg);
}

}  // namespace sockmi::proxy
