#include <nlohmann/json.hpp>

#include "api/router.h"
#include "connections/forget_host.h"

namespace sockmi::api {

// For root only: it gives up connections of all users.
asio::awaitable<Result<Response>> post_forget(daemon::Daemon& daemon, Session&, Request& request) {
  if (!request.user.is_root()) co_return fail(EACCES, "only root may forget hosts");
  const auto& body = request.http.body();
  const auto wish =
      nlohmann::json::parse(body.begin(), body.end(), nullptr, /*allow_exceptions=*/false);
  if (!wish.is_object() || !wish.contains("host") || !wish["host"].is_string())
    co_return fail(EINVAL, "invalid body: expected {{\"host\": …}}");
  const std::string host = wish["host"].get<std::string>();
  if (host == daemon.services().settings.host)
    co_return fail(EINVAL, "invalid host '{}': it is this one", host);
  const auto forgotten = daemon::forget_host(daemon.connections(), host);
  co_return json_response(200, {{"host", host},
                                {"pending_ends", forgotten.untold},
                                {"forwarded", forgotten.forwarded},
                                {"held", forgotten.held}});
}

}  // namespace sockmi::api
