// The steps before the relay each have a time of their own, and a client that does
// nothing costs a socket and a coroutine until that time is over. What the client sends
// meanwhile stays in its socket.
#include "proxy/connection.h"

#include "base/log.h"
#include "proxy/backend_leg.h"
#include "proxy/client_leg.h"
#include "proxy/sockets.h"

namespace sockmi::proxy {
namespace {

namespace asio = boost::asio;

RelayState state_of(const Accepted& accepted) {
  RelayState state;
  state.listener = accepted.listener->name;
  state.client = peer_address(accepted.socket.get());
  state.local = local_address(accepted.socket.get());
  state.begun = std::chrono::system_clock::now();
  return state;
}

BackendSlot slot_at(const ServicePlan& service, const std::string& backend) {
  for (const auto& each : service.backends) {
    if (each->name != backend) continue;
    each->count();
    return BackendSlot(each);
  }
  return {};
}

void log_end(const RelayState& state, std::string_view error) {
  const auto took = std::chrono::system_clock::now() - state.begun;
  log::info("connection_closed", {{"listener", state.listener},
                                  {"service", state.service},
                                  {"backend", state.backend},
                                  {"client", state.client},
                                  {"received", state.to_backend.bytes},
                                  {"sent", state.to_client.bytes},
                                  {"took", took},
                                  {"error", error}});
}

// What a relay has as long as it lives. The listener's plan owns what the TLS of the
// client uses.
struct Holdings {
  Counted counted;
  std::shared_ptr<const ListenerPlan> listener;
  ListenerSlot slot;
  ClientLimit::Slot client_slot;
  BackendSlot backend_slot;
  bool logged;
};

void run(Worker& worker, StoppedRelay relay, Holdings holdings) {
  relay.on_end = [&worker, holdings = std::move(holdings)](const RelayRunner* ended,
                                                           const RelayState& last,
                                                           std::string_view error) mutable {
    worker.forget(ended);
    holdings.client_slot = {};
    if (holdings.logged) log_end(last, error);
  };
  worker.run(std::make_shared<RelayRunner>(worker.io().get_executor(), std::move(relay)));
}

Result<std::string> protocol_of(const Result<BackendLeg>& backend) {
  if (!backend) return std::unexpected(backend.error());
  return backend->protocol;
}

}  // namespace

void continue_imported(Worker& worker, ImportedRelay imported, Counted counted, bool access_log) {
  auto& [listener, service, relay] = imported;
  const RelayState& state = relay.parts.state;
  listener->limit->count();
  ListenerSlot slot(listener->limit);
  auto client_slot = listener->clients->acquire(state.client.ip, UINT32_MAX);
  Holdings holdings{std::move(counted),
                    listener,
                    std::move(slot),
                    std::move(client_slot).value_or(ClientLimit::Slot()),
                    slot_at(*service, state.backend),
                    access_log};
  run(worker, std::move(relay), std::move(holdings));
}

asio::awaitable<void> serve(Worker& worker, Accepted accepted, Counted counted) {
  const auto listener = accepted.listener;
  const auto opening = worker.begin_opening(listener->name);
  const bool logged = accepted.access_log;
  RelayState state = state_of(accepted);
  auto client = co_await open_client_leg(std::move(accepted.socket), *listener, state);
  if (!client) {
    if (logged) log_end(state, client.error().reason);
    co_return;
  }
  const auto service = client->service;
  state.service = service->name;
  auto backend = co_await open_backend_leg(*service, state, client->offered);
  if (backend) state.backend = backend->slot->name;
  if (const auto done = co_await finish_client_leg(*client, protocol_of(backend)); !done) {
    client->stream.reset();
    if (backend) backend->stream.reset();
    if (logged) log_end(state, done.error().reason);
    co_return;
  }
  Relay::Parts parts;
  parts.state = std::move(state);
  parts.client = std::move(client->stream);
  parts.backend = std::move(backend->stream);
  Holdings holdings{std::move(counted),       listener,
                    std::move(accepted.slot), std::move(client->slot),
                    std::move(backend->slot), logged};
  StoppedRelay relay(std::move(parts), service->config.idle_timeout);
  run(worker, std::move(relay), std::move(holdings));
}

}  // namespace sockmi::proxy
