// Asks the daemon something by its HTTP interface, and prints JSON.
#pragma once

#include <chrono>
#include <string>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "lib/http_client.h"

namespace sockmi::sockmictl {

// Returns the body of the answer. `body`: null for none.
// Errors: those of the daemon; EINVAL if the body is not UTF-8; EBADMSG if the answer is
// no JSON object; ENXIO if no daemon is there; ETIMEDOUT after `timeout`.
Result<nlohmann::json> ask(const char* method, const std::string& path,
                           const nlohmann::json& body = {},
                           std::chrono::seconds timeout = lib::kAnswerTime);

// Returns a value as a table cell shows it: text without quotes, "-" for null. Text may
// come from another host or an application, so it is made printable.
std::string cell(const nlohmann::json& value);

// Returns the answer for --json: in ASCII, so that no control character reaches a
// terminal.
std::string json_text(const nlohmann::json& answer, int indent = -1);

}  // namespace sockmi::sockmictl
