#include "sockmictl/daemon_request.h"

#include "base/printable.h"

namespace sockmi::sockmictl {

using nlohmann::json;

namespace {

Result<std::string> text_of(const json& body) {
  try {
    return body.is_null() ? "" : body.dump();
  } catch (const json::type_error&) {
    return fail(EINVAL, "invalid argument: it is not UTF-8");
  }
}

}  // namespace

Result<json> ask(const char* method, const std::string& path, const json& body,
                 std::chrono::seconds timeout) {
  TRY_LET(text, text_of(body));
  const lib::Deadline until = lib::Clock::now() + timeout;
  TRY_LET(client, lib::Client::connect(until));
  TRY_LET(reply,
          client.call(method, path,
                      {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, until));
  auto answer =
      json::parse(reply.body.begin(), reply.body.end(), nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object()) return fail(EBADMSG, "sockmid answered something other than JSON");
  return answer;
}

std::string cell(const json& value) {
  if (value.is_null()) return "-";
  return printable(value.is_string() ? value.get<std::string>() : value.dump());
}

std::string json_text(const json& answer, int indent) {
  return answer.dump(indent, ' ', /*ensure_ascii=*/true);
}

}  // namespace sockmi::sockmictl
