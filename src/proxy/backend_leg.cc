// No byte of the client has been sent to a backend before one was connected.
#include "proxy/backend_leg.h"

#include "base/log.h"
#include "proxy/connect.h"
#include "proxy/handshake.h"

namespace sockmi::proxy {
namespace {

namespace asio = boost::asio;

// A socket that has just been connected has room for a header.
Result<> send_header(int socket, ByteView header) {
  if (header.empty()) return {};
  const auto sent = ::send(socket, header.data(), header.size(), MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(header.size())) return {};
  return sent < 0 ? fail_errno("cannot send the header of the PROXY protocol")
                  : fail(EPIPE, "the header of the PROXY protocol does not fit");
}

// Returns a connection whose backend has been told who the client is.
asio::awaitable<Result<unique_fd>> connect_for(const Backend& backend, const RelayState& state,
                                               Clock::time_point deadline) {
  CO_TRY_LET(socket, co_await connect_to(backend, deadline));
  const Bytes header = write_proxy_header(backend.config.proxy_protocol, state.client, state.local);
  CO_TRY(send_header(socket.get(), header));
  co_return std::move(socket);
}

// Does the handshake with a backend that has TLS. It chooses one of the protocols, or
// none.
asio::awaitable<Result<>> begin_tls(BackendLeg& leg, unique_fd socket, const TlsClient& tls,
                                    const Protocols& protocols, Clock::time_point deadline) {
  CO_TRY_LET(stream, TlsStream::open(std::move(socket), tls.new_ssl(protocols)));
  CO_TRY(co_await shake_hands(*stream, deadline));
  leg.protocol = protocol_of(stream->ssl());
  leg.stream = std::move(stream);
  co_return Result<>();
}

// Without TLS the backend gets the protocol that the service prefers.
asio::awaitable<Result<>> open_stream(BackendLeg& leg, const ServicePlan& service,
                                      const RelayState& state, const Protocols& protocols) {
  const auto deadline = Clock::now() + service.config.connect_timeout;
  CO_TRY_LET(socket, co_await connect_for(*leg.slot, state, deadline));
  if (const auto tls = service.tls.find(leg.slot->name); tls != service.tls.end())
    co_return co_await begin_tls(leg, std::move(socket), *tls->second, protocols, deadline);
  leg.stream = std::make_unique<PlainStream>(std::move(socket));
  leg.protocol = service.preferred(protocols);
  co_return Result<>();
}

// Whether the error says nothing about the backend: the proxy lacks something, or the
// client wants a protocol that the backend does not have.
bool is_not_backends(int code) {
  return is_own_lack(code) || code == EPROTONOSUPPORT;
}

void log_backend(Backend& backend, const Result<>& opened) {
  if (!opened && is_not_backends(opened.error().code)) return;
  if (!backend.set_failed(!opened)) return;
  if (opened) {
    log::info("backend_recovered", {{"service", backend.service}, {"backend", backend.name}});
  } else {
    log::warn("backend_failed",
              {{"service", backend.service}, {"backend", backend.name}, {"error", opened.error()}});
  }
}

}  // namespace

asio::awaitable<Result<BackendLeg>> open_backend_leg(const ServicePlan& service,
                                                     const RelayState& state,
                                                     const Protocols& offered) {
  CO_TRY_LET(protocols, common_protocols(service.config.protocols, offered));
  const bool hashed = service.config.balance == Balance::HashClient;
  const IpAddress* client = hashed ? &state.client.ip : nullptr;
  std::vector<const Backend*> tried;
  Error last{EHOSTUNREACH, "all backends have as many connections as they may"};
  while (tried.size() < service.config.attempts) {
    BackendLeg found;
    found.slot = choose(service.backends, tried, client);
    if (!found.slot) break;
    tried.push_back(&*found.slot);
    const auto opened = co_await open_stream(found, service, state, protocols);
    log_backend(*found.slot, opened);
    if (opened) co_return std::move(found);
    last = opened.error();
  }
  co_return std::unexpected(std::move(last));
}

}  // namespace sockmi::proxy
