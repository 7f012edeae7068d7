// Lists what is in doubt, and takes an operator's decision on it.
#include <nlohmann/json.hpp>

#include "api/json_body.h"
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
  CO_TRY_LET(body, JsonBody::parse(request.http.body()));
  CO_TRY_LET(id, body.text("id"));
  CO_TRY_LET(how, body.text("decide"));
  if (how != "commit" && how != "discard")
    co_return fail(EINVAL, "invalid body: 'decide' is not \"commit\" or \"discard\"");
  CO_TRY(daemon.services().in_doubt.decide(
      id, how == "commit" ? daemon::Decide::Commit : daemon::Decide::Discard));
  co_return json_response(200, nlohmann::json::object());
}

}  // namespace sockmi::api
