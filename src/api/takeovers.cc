#include <nlohmann/json.hpp>

#include "api/json_body.h"
#include "api/router.h"

namespace sockmi::api {

// For root only: giving an address away ends what other users do on this host.
asio::awaitable<Result<Response>> post_takeover(daemon::Daemon& daemon, Session&,
                                                Request& request) {
  if (!request.user.is_root()) co_return fail(EACCES, "only root may take over addresses");
  CO_TRY_LET(body, JsonBody::parse(request.http.body()));
  CO_TRY_LET(text, body.text("address"));
  CO_TRY_LET(address, IpAddress::parse(text));
  CO_TRY_LET(to, body.text("to"));
  CO_TRY_LET(force, body.flag("force", false));
  CO_TRY_LET(outcome, co_await daemon.address_giver().give(address, to, force));
  nlohmann::json lost = nlohmann::json::array();
  for (const auto& tuple : outcome.lost)
    lost.push_back({{"local", to_string(tuple.local)}, {"peer", to_string(tuple.remote)}});
  co_return json_response(200, {{"address", to_string(address)},
                                {"host", outcome.host},
                                {"moved", outcome.moved},
                                {"lost", std::move(lost)}});
}

}  // namespace sockmi::api
