// The HTTP surface of sockmid: which request does what.
#pragma once

#include <memory>
#include <string>

#include "api/http_server.h"
#include "daemon/daemon.h"

namespace sockmi::api {

// Serves the broker at a Unix socket.
Result<std::unique_ptr<Listener>> serve(asio::io_context& io, const std::string& path, daemon::Broker& broker);

pid_t process_of(Session& session);  // the client; 0: it is in a process namespace that we do not see

// An action answers one request, or fails; the error's errno decides the HTTP status.
using Action = asio::awaitable<Result<Response>> (*)(daemon::Broker&, Session&, Request&);

asio::awaitable<Result<Response>> post_export(daemon::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_import(daemon::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_import_taken(daemon::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> get_events(daemon::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_request(daemon::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_request_done(daemon::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_takeover(daemon::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_forget(daemon::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> get_doubts(daemon::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_doubt(daemon::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> get_status(daemon::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> get_connections(daemon::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> get_peers(daemon::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> get_migrations(daemon::Broker&, Session&, Request&);
asio::awaitable<Result<Response>> post_fault(daemon::Broker&, Session&, Request&);

}  // namespace sockmi::api
