#include <sockmi/sockmi.h>
#include <nlohmann/json.hpp>

#include "api/export_parts.h"
#include "api/router.h"
#include "migration/batching.h"
#include "wire/flatbuffer.h"

namespace sockmi::api {
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
    CO_TRY_LET(endpoint, read_part(*input, static_cast<unsigned>(i), service, request.user));
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
