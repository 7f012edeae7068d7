#include "proxy/client_leg.h"

#include "base/log.h"
#include "proxy/client_hello.h"
#include "proxy/handshake.h"
#include "proxy/proxy_header.h"

namespace sockmi::proxy {
namespace {

namespace asio = boost::asio;

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

// Counts the connection as one of its client. One too many is reset.
Result<ClientLimit::Slot> take_slot(unique_fd& socket, const ListenerPlan& listener,
                                    const SocketAddress& client) {
  auto slot = listener.clients->acquire(client.ip, listener.config.max_connections_per_client);
  if (slot) return slot;
  PlainStream(std::move(socket)).reset_at_close();
  if (listener.clients->may_log()) {
    log::warn("client_limit_reached",
              {{"listener", listener.name}, {"client", client}, {"error", slot.error()}});
  }
  return slot;
}

// Answers the ClientHello, and does the rest of the handshake.
asio::awaitable<Result<>> answer(TlsStream& stream, ServerHandshake& handshake,
                                 const Result<std::string>& protocol, Clock::time_point deadline) {
  if (protocol) {
    handshake.protocol = *protocol;
  } else if (protocol.error().code == EPROTONOSUPPORT) {
    handshake.alert = SSL_AD_NO_APPLICATION_PROTOCOL;
  } else {
    handshake.alert = SSL_AD_INTERNAL_ERROR;
  }
  const auto done = co_await shake_hands(stream, deadline);
  if (!protocol) co_return std::unexpected(protocol.error());
  if (done) TlsServer::forget_handshake(stream.ssl());
  co_return done;
}

asio::awaitable<Result<>> open_tls(ClientLeg& leg, unique_fd socket, const ListenerPlan& listener,
                                   Clock::time_point deadline) {
  leg.handshake = std::make_unique<ServerHandshake>();
  CO_TRY_LET(stream,
             TlsStream::open(std::move(socket), listener.tls->new_ssl(leg.handshake.get())));
  CO_TRY(co_await shake_hands(*stream, deadline));
  leg.service = listener.service_for(leg.handshake->server_name);
  leg.offered = std::move(leg.handshake->offered);
  if (leg.offered.empty() || leg.service->tls.empty()) {
    const auto protocol = leg.service->protocol_for(leg.offered);
    CO_TRY(co_await answer(*stream, *leg.handshake, protocol, deadline));
    leg.handshake.reset();
  }
  leg.left = deadline - Clock::now();
  leg.stream = std::move(stream);
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
  CO_TRY_LET(slot, take_slot(socket, listener, state.client));
  leg.slot = std::move(slot);
  if (listener.config.tls == TlsMode::Terminate) {
    CO_TRY(co_await open_tls(leg, std::move(socket), listener, deadline));
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

asio::awaitable<Result<>> finish_client_leg(ClientLeg& leg, const Result<std::string>& protocol) {
  if (leg.handshake) {
    auto& stream = static_cast<TlsStream&>(*leg.stream);
    co_return co_await answer(stream, *leg.handshake, protocol, Clock::now() + leg.left);
  }
  if (protocol) co_return Result<>();
  // Nothing of the service has answered, so that this is not the end of an answer.
  leg.stream->reset_at_close();
  co_return std::unexpected(protocol.error());
}

}  // namespace sockmi::proxy
