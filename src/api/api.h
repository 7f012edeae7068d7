// The HTTP surface of sockmid: which request does what.
#pragma once

#include <memory>
#include <string>

#include "api/session.h"
#include "broker/broker.h"

namespace sockmi::api {

// Serves the broker at a Unix socket.
Result<std::unique_ptr<Listener>> serve(asio::io_context& io, const std::string& path, broker::Broker& broker);

pid_t process_of(Session& session);  // the client; 0: it is in a process namespace that we do not see

// An action answers one request, or fails; the error's errno decides the HTTP status.
using Action = asio::awaitable<Result<Response>> (*)(broker::Broker&, Session&, Request&);

asio::awaitable<Result<Response>> post_export(broker::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_import(broker::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_import_taken(broker::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> get_events(broker::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_request(broker::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_request_done(broker::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_takeover(broker::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_forget(broker::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> get_doubts(broker::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_doubt(broker::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> get_status(broker::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> get_connections(broker::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> get_peers(broker::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> get_migrations(broker::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_fault(broker::Broker&, Session&, Request&);

}  // namespace sockmi::api
