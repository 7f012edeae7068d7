#include <nlohmann/json.hpp>
#include <sockmi/sockmi.h>

#include "api/api.h"
#include "broker/migration.h"
#include "image/pack.h"

namespace sockmi::api {
namespace {

constexpr unsigned kTlsStates =
    SOCKMI_CLIENT_CONNECTED | SOCKMI_SERVER_CONNECTED | SOCKMI_CLIENT_ESTABLISHED | SOCKMI_SERVER_ESTABLISHED;

Result<> check_state(unsigned state, bool has_tls) {
  if (state == SOCKMI_BOUND || state == SOCKMI_LISTENING) return fail(ENOTSUP, "bound and listening sockets are not served yet");
  if (state == 0 || (state & (state - 1)) || !(state & (kTlsStates | SOCKMI_CONNECTED)))
    return fail(EINVAL, "{:#x} is not one state", state);
  if (has_tls != bool(state & kTlsStates)) return fail(EINVAL, "state {:#x} and a TLS image {} there", state, has_tls ? "is" : "is not");
  return {};
}

}  // namespace

asio::awaitable<Result<Response>> post_export(broker::Broker& broker, Session&, Request& request) {
  CO_TRY_LET(wish, image::read<image::ExportRequest>(request.http.body()));
  image::Endpoint endpoint{.service = image::string(wish->service()), .owner = request.user, .state = wish->state(),
                           .tls = image::secret(wish->tls()), .payload = image::secret(wish->payload())};
  if (request.descriptors.size() != 1)
    co_return fail(EBADF, "an export comes with one descriptor, not {}", request.descriptors.size());
  if (endpoint.payload.size() > SOCKMI_PAYLOAD_MAX)
    co_return fail(EMSGSIZE, "a payload of {} bytes; {} are the most", endpoint.payload.size(), SOCKMI_PAYLOAD_MAX);
  CO_TRY(check_state(endpoint.state, !endpoint.tls.empty()));
  CO_TRY(broker.world().policy.may_export(endpoint.service, request.user));
  IpAddress target;
  if (wish->target() && wish->target()->size() > 0) {
    CO_TRY_LET(address, IpAddress::from_bytes(image::view(wish->target())));
    target = address;
  }
  if (target == broker.world().settings.address) co_return fail(EINVAL, "{} is this host", to_string(target));
  const broker::milliseconds timeout(wish->timeout_ms());
  CO_TRY(co_await broker::export_endpoint(broker.world(), std::move(request.descriptors[0]), std::move(endpoint), target, timeout));
  co_return json_response(200, nlohmann::json::object());
}

}  // namespace sockmi::api
