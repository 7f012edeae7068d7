#include "api/router.h"

#include <algorithm>

#include "api/user_names.h"
#include "base/log.h"

namespace sockmi::api {
namespace {

struct Route {
  http::verb method;
  std::string_view path;
  Action action;
  bool by_name = false;  // the policy also depends on the user's name
};

constexpr Route kRoutes[] = {
    {http::verb::post, kExports, post_export, true},
    {http::verb::post, kHandOvers, post_hand_over, true},
    {http::verb::post, "/v1/imports", post_import, true},
    {http::verb::post, "/v1/imports/taken", post_import_taken},
    {http::verb::get, "/v1/events", get_events, true},
    {http::verb::post, "/v1/requests", post_request, true},
    {http::verb::post, "/v1/requests/done", post_request_done},
    {http::verb::post, "/v1/takeovers", post_takeover},
    {http::verb::post, "/v1/hosts/forget", post_forget},
    {http::verb::get, "/v1/health", get_health},
    {http::verb::get, "/v1/drain", get_drain},
    {http::verb::post, "/v1/drain", post_drain},
    {http::verb::get, "/v1/drain/connections", get_drain_connections},
    {http::verb::post, "/v1/drain/stop", post_drain_stop},
    {http::verb::post, "/v1/undrain", post_undrain},
    {http::verb::get, "/v1/doubt", get_doubts},
    {http::verb::post, "/v1/doubt", post_doubt},
    {http::verb::get, "/v1/status", get_status},
    {http::verb::get, "/v1/connections", get_connections, true},
    {http::verb::get, "/v1/hosts", get_hosts},
    {http::verb::get, "/v1/migrations", get_migrations, true},
    {http::verb::post, "/v1/testing/faults", post_fault},
};

struct StatusOf {
  int code;
  int status;
};

// 4xx: the client's request is at fault. 503: the connection is unharmed, and a later
// attempt or another host may succeed. 504: the outcome is still unknown.
constexpr StatusOf kStatus[] = {
    {EINVAL, 400},          {EBADMSG, 400},     {EBADF, 400},        {ENOTSOCK, 400},
    {EPROTONOSUPPORT, 400}, {ENOTCONN, 409},    {ENOTSUP, 422},      {EMSGSIZE, 413},
    {ENOENT, 404},          {EACCES, 403},      {EHOSTUNREACH, 503}, {ECONNREFUSED, 503},
    {EHOSTDOWN, 503},       {ENOBUFS, 503},     {ESRCH, 503},        {EADDRNOTAVAIL, 404},
    {EEXIST, 409},          {EBUSY, 409},       {ETIMEDOUT, 503},    {ECONNRESET, 503},
    {ECANCELED, 503},       {EINPROGRESS, 504}, {ECONNABORTED, 500}, {EDQUOT, 503},
};

asio::awaitable<Response> dispatch(daemon::Daemon& daemon, UserNames& names, Session& session,
                                   Request& request) {
  const auto path = std::ranges::find(kRoutes, request.path, &Route::path);
  if (path == std::end(kRoutes)) co_return refuse(404, "unknown resource: " + request.path);
  const auto route = std::ranges::find_if(kRoutes, [&](const Route& r) {
    return r.path == request.path && r.method == request.http.method();
  });
  if (route == std::end(kRoutes))
    co_return refuse(405, "invalid method for resource: " + request.path);
  if (route->by_name && request.user.name.empty())
    request.user.name = co_await names.of(request.user.uid);
  Result<Response> response;
  // Our own code does not throw. A library may, when memory runs out or on unforeseen
  // input. The daemon continues to serve.
  try {
    response = co_await route->action(daemon, session, request);
  } catch (const std::exception& e) {
    response = fail(EINVAL, "{}", e.what());
  }
  if (response) co_return std::move(*response);
  log::debug("request_refused",
             {{"path", request.path}, {"uid", request.user.uid}, {"error", response.error()}});
  co_return refuse_for(response.error());
}

}  // namespace

Response refuse_for(const Error& error) {
  const auto known = std::ranges::find(kStatus, error.code, &StatusOf::code);
  return refuse(known == std::end(kStatus) ? 500 : known->status, error.reason, error.code);
}

Result<std::unique_ptr<Listener>> serve(asio::io_context& io, const std::string& path,
                                        daemon::Daemon& daemon) {
  std::string error;
  auto names = std::make_shared<UserNames>(io);
  auto listener = Listener::open(
      io, path,
      [&daemon, names](Session& session, Request& request) {
        return dispatch(daemon, *names, session, request);
      },
      error);
  if (!listener) return fail(EADDRINUSE, "{}", error);
  return listener;
}

}  // namespace sockmi::api
