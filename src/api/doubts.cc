// Lists what is in doubt, and takes an operator's decision on it.
#include <nlohmann/json.hpp>

#include "api/router.h"

namespace sockmi::api {

// For root only: whose endpoints they are is not recorded.
asio::awaitable<Result<Response>> get_doubts(daemon::Daemon& daemon, Session&, Request& request) {
  if (!request.user.is_root())
    co_return fail(EACCES, "user {} may not list endpoints in doubt", request.user.uid);
  nlohmann::json out = nlohmann::json::array();
  for (const auto& [id, doubt] : daemon.services().in_doubt.all()) {
    const auto since = doubt.since.time_since_epoch();
    out.push_back(
        {{"id", id},
         {"kind", doubt.kind},
         {"local", to_string(doubt.tuple.local)},
         {"peer", to_string(doubt.tuple.remote)},
         {"host", doubt.host},
         {"since_ms", std::chrono::duration_cast<std::chrono::milliseconds>(since).count()}});
  }
  co_return json_response(200, {{"doubts", std::move(out)}});
}

// For root only: a wrong decision leaves two live endpoints, or none.
asio::awaitable<Result<Response>> post_doubt(daemon::Daemon& daemon, Session&, Request& request) {
  if (!request.user.is_root())
    co_return fail(EACCES, "user {} may not decide about endpoints in doubt", request.user.uid);
  const auto& body = request.http.body();
  const auto wish =
      nlohmann::json::parse(body.begin(), body.end(), nullptr, /*allow_exceptions=*/false);
  const bool whole = wish.is_object() && wish.contains("id") && wish["id"].is_string() &&
                     wish.contains("decide") && wish["decide"].is_string();
  const std::string how = whole ? wish["decide"].get<std::string>() : "";
  if (how != "commit" && how != "discard") {
    co_return fail(EINVAL,
                   "invalid body: expected {{\"id\": …, \"decide\": \"commit\" or \"discard\"}}");
  }
  CO_TRY(daemon.services().in_doubt.decide(
      wish["id"].get<std::string>(),
      how == "commit" ? daemon::Decide::Commit : daemon::Decide::Discard));
  co_return json_response(200, nlohmann::json::object());
}

}  // namespace sockmi::api
