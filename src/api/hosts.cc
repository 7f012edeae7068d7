#include <nlohmann/json.hpp>

#include "api/json_body.h"
#include "api/router.h"
#include "connections/forget_host.h"

namespace sockmi::api {

// For root only: it gives up connections of all users.
asio::awaitable<Result<Response>> post_forget(daemon::Daemon& daemon, Session&, Request& request) {
  if (!request.user.is_root()) co_return fail(EACCES, "only root may forget hosts");
  CO_TRY_LET(body, JsonBody::parse(request.http.body()));
  CO_TRY_LET(host, body.text("host"));
  if (host == daemon.services().settings.host)
    co_return fail(EINVAL, "invalid host '{}': it is this one", host);
  const auto forgotten = daemon::forget_host(daemon.connections(), host);
  co_return json_response(200, {{"host", host},
                                {"pending_ends", forgotten.pending_ends},
                                {"forwarded", forgotten.forwarded},
                                {"held", forgotten.held}});
}

}  // namespace sockmi::api
