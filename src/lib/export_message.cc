#include "lib/export_message.h"

#include <nlohmann/json.hpp>

#include "wire/control_messages.h"
#include "wire/flatbuffer.h"

namespace sockmi::lib {

Result<ByteView> address_bytes(int af, const void* address) {
  if (!address || af == AF_UNSPEC) return ByteView();
  if (af != AF_INET && af != AF_INET6) return fail(EINVAL, "invalid address family {}", af);
  return ByteView(static_cast<const std::uint8_t*>(address), af == AF_INET ? 4 : 16);
}

Result<Secret> pack_export(std::span<const ExportItem> all, int af, const void* to,
                           const char* service_name, std::chrono::milliseconds timeout) {
  TRY_LET(target, address_bytes(af, to));
  std::size_t size = 1024;
  for (const ExportItem& one : all)
    size += 64 + one.size();
  wire::WipingBuilder builder(size);
  std::vector<flatbuffers::Offset<wire::ExportPart>> parts;
  for (const ExportItem& one : all) {
    const auto tls = builder.CreateVector(one.tls.data(), one.tls.size());
    const auto payload = builder.CreateVector(one.payload.data(), one.payload.size());
    parts.push_back(wire::CreateExportPart(builder, static_cast<std::uint8_t>(one.state), tls,
                                           payload, one.group));
  }
  const auto service = builder.CreateString(service_name ? service_name : "default");
  const auto target_bytes = builder.CreateVector(target.data(), target.size());
  builder.Finish(wire::CreateExportRequest(builder, service, target_bytes,
                                           static_cast<std::uint32_t>(timeout.count()),
                                           builder.CreateVector(parts)));
  return builder.take();
}

Result<std::vector<Result<>>> read_results(const Reply& reply, std::size_t count) {
  const auto answer = nlohmann::json::parse(reply.body.begin(), reply.body.end(), nullptr,
                                            /*allow_exceptions=*/false);
  if (!answer.is_object() || !answer["results"].is_array() || answer["results"].size() != count)
    return fail(EBADMSG, "malformed reply from sockmid");
  std::vector<Result<>> results;
  for (const auto& each : answer["results"]) {
    const int code = each.value("errno", EBADMSG);
    results.push_back(code == 0 ? Result<>()
                                : std::unexpected(Error{code, each.value("error", std::string())}));
  }
  return results;
}

}  // namespace sockmi::lib
