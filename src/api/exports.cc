#include <sockmi/sockmi.h>
#include <nlohmann/json.hpp>

#include "api/router.h"
#include "base/endpoint_state.h"
#include "migration/batching.h"
#include "wire/flatbuffer.h"

namespace sockmi::api {
namespace {

Result<> check_state(unsigned state, bool has_tls) {
  if (state == 0 || (state & (state - 1)) || !(state & kAllStates))
    return fail(EINVAL, "invalid state {:#x}: expected one state", state);
  if (has_tls != bool(state & kTlsStates)) {
    return fail(EINVAL, "invalid export: state {:#x}, and a TLS image {} there", state,
                has_tls ? "is" : "is not");
  }
  return {};
}

// Checks that the part `i` may follow the part before it.
Result<> check_group(const flatbuffers::Vector<flatbuffers::Offset<wire::ExportPart>>& parts,
                     unsigned i) {
  const std::uint32_t group = parts.Get(i)->group();
  if (group == 0) return {};
  if (parts.Get(i)->state() & (SOCKMI_BOUND | SOCKMI_LISTENING))
    return fail(EINVAL, "invalid group {}: a bound or listening socket is in it", group);
  unsigned count = 1;
  for (unsigned k = i; k-- > 0;) {
    if (parts.Get(k)->group() != group) continue;
    if (k + count != i) return fail(EINVAL, "invalid group {}: other parts are in between", group);
    ++count;
  }
  if (count > wire::kMostOfAGroup)
    return fail(EINVAL, "invalid group {}: more than {} parts", group, wire::kMostOfAGroup);
  return {};
}

}  // namespace

asio::awaitable<Result<Response>> post_export(daemon::Daemon& daemon, Session& session,
                                              Request& request) {
  if (daemon.services().stopping) co_return fail(EHOSTDOWN, "sockmid is stopping");
  CO_TRY_LET(input, wire::read<wire::ExportRequest>(request.http.body()));
  const std::string service = wire::string(input->service());
  const std::size_t count = input->parts() ? input->parts()->size() : 0;
  const std::size_t came = request.descriptors.size();
  if (count == 0 || (came != count && came != count + 1)) {
    co_return fail(EBADF, "invalid export: {} descriptors for {} parts", came, count);
  }
  std::shared_ptr<Token> token;
  if (came > count) {
    CO_TRY_LET(adopted, Token::adopt(std::move(request.descriptors.back())));
    token = std::make_shared<Token>(std::move(adopted));
  }
  CO_TRY(daemon.services().policy.may_export(service, request.user));
  IpAddress target;
  if (input->target() && input->target()->size() > 0) {
    CO_TRY_LET(address, IpAddress::from_bytes(wire::view(input->target())));
    target = address;
  }
  if (target == daemon.services().settings.address)
    co_return fail(EINVAL, "invalid host '{}': it is this one", to_string(target));
  std::vector<daemon::ExportItem> items;
  for (std::size_t i = 0; i < count; ++i) {
    const auto* part = input->parts()->Get(static_cast<unsigned>(i));
    wire::Endpoint endpoint{.service = service,
                            .owner = request.user,
                            .state = part->state(),
                            .tls = wire::secret(part->tls()),
                            .payload = wire::secret(part->payload()),
                            .group = part->group()};
    if (endpoint.payload.size() > SOCKMI_PAYLOAD_MAX) {
      co_return fail(EMSGSIZE, "payload of {} bytes is larger than {} bytes",
                     endpoint.payload.size(), SOCKMI_PAYLOAD_MAX);
    }
    CO_TRY(check_state(endpoint.state, !endpoint.tls.empty()));
    CO_TRY(check_group(*input->parts(), static_cast<unsigned>(i)));
    items.push_back(
        {std::move(request.descriptors[i]), std::move(endpoint), session.borrow_fd(), token});
  }
  auto results = co_await daemon::export_endpoints(daemon.exports(), std::move(items), target,
                                                   daemon::milliseconds(input->timeout_ms()));
  if (count == 1 && !results.front()) co_return std::unexpected(results.front().error());
  nlohmann::json out = nlohmann::json::array();
  for (const auto& result : results) {
    out.push_back({{"errno", result ? 0 : result.error().code},
                   {"error", result ? "" : to_string(result.error())}});
  }
  co_return json_response(200, {{"results", std::move(out)}});
}

}  // namespace sockmi::api
