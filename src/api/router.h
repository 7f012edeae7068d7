// Maps the HTTP requests of sockmid to the functions that answer them.
#pragma once

#include <memory>
#include <string>

#include "api/http_server.h"
#include "daemon/daemon.h"

namespace sockmi::api {

// Serves the daemon's API at a Unix socket.
Result<std::unique_ptr<Listener>> serve(asio::io_context& io, const std::string& path,
                                        daemon::Daemon& daemon);

// The client; 0: it is in a process namespace that we cannot see.
pid_t process_of(Session& session);

// An action answers one request, or fails; the error's errno determines the HTTP status.
using Action = asio::awaitable<Result<Response>> (*)(daemon::Daemon&, Session&, Request&);

asio::awaitable<Result<Response>> post_export(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> post_hand_over(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> post_import(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> post_import_taken(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> get_events(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> post_request(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> post_request_done(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> post_takeover(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> post_forget(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> get_health(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> get_drain(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> post_drain(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> get_drain_connections(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> post_drain_stop(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> post_undrain(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> get_doubts(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> post_doubt(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> get_status(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> get_connections(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> get_hosts(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> get_migrations(daemon::Daemon&, Session&, Request&);
asio::awaitable<Result<Response>> post_fault(daemon::Daemon&, Session&, Request&);

}  // namespace sockmi::api
