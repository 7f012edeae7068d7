#include "api/export_parts.h"

#include <sockmi/sockmi.h>

#include "base/endpoint_state.h"

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

Result<wire::Endpoint> read_part(const wire::ExportRequest& input, unsigned i,
                                 const std::string& service, const User& user) {
  const auto* part = input.parts()->Get(i);
  wire::Endpoint endpoint{.service = service,
                          .owner = user,
                          .state = part->state(),
                          .tls = wire::secret(part->tls()),
                          .payload = wire::secret(part->payload()),
                          .group = part->group()};
  if (endpoint.payload.size() > SOCKMI_PAYLOAD_MAX) {
    return fail(EMSGSIZE, "payload of {} bytes is larger than {} bytes", endpoint.payload.size(),
                SOCKMI_PAYLOAD_MAX);
  }
  TRY(check_state(endpoint.state, !endpoint.tls.empty()));
  TRY(check_group(*input.parts(), i));
  return endpoint;
}

}  // namespace sockmi::api
