#include <nlohmann/json.hpp>

#include "api/router.h"

namespace sockmi::api {

// For root only: giving an address away ends what other users do on this host.
asio::awaitable<Result<Response>> post_takeover(daemon::Daemon& daemon, Session&,
                                                Request& request) {
  if (!request.user.is_root()) co_return fail(EACCES, "only root may take over addresses");
  const auto& body = request.http.body();
  const auto wish =
      nlohmann::json::parse(body.begin(), body.end(), nullptr, /*allow_exceptions=*/false);
  if (!wish.is_object()) co_return fail(EINVAL, "invalid body: expected a JSON object");
  CO_TRY_LET(address, IpAddress::parse(wish.value("address", "")));
  CO_TRY_LET(outcome, co_await daemon.address_giver().give(address, wish.value("to", ""),
                                                           wish.value("force", false)));
  nlohmann::json lost = nlohmann::json::array();
  for (const auto& tuple : outcome.lost)
    lost.push_back({{"local", to_string(tuple.local)}, {"peer", to_string(tuple.remote)}});
  co_return json_response(200, {{"address", to_string(address)},
                                {"host", outcome.host},
                                {"moved", outcome.moved},
                                {"lost", std::move(lost)}});
}

}  // namespace sockmi::api
