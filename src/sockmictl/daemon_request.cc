#include "sockmictl/daemon_request.h"

namespace sockmi::sockmictl {

using nlohmann::json;

Result<json> ask(const char* method, const std::string& path, const json& body,
                 std::chrono::seconds timeout) {
  const std::string text = body.is_null() ? "" : body.dump();
  const lib::Deadline until = lib::Clock::now() + timeout;
  TRY_LET(client, lib::Client::connect(until));
  TRY_LET(reply,
          client.call(method, path,
                      {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, until));
  return json::parse(reply.body.begin(), reply.body.end());
}

std::string cell(const json& value) {
  if (value.is_null()) return "-";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace sockmi::sockmictl
