// Orders to the daemon that only root may give.
#include <memory>

#include <CLI/CLI.hpp>

#include "sockmictl/commands.h"
#include "sockmictl/daemon_request.h"

namespace sockmi::sockmictl {
namespace {

using nlohmann::json;

constexpr std::chrono::minutes kTakeoverTimeout{10};  // everything at the address moves

// Adds an option or operand that becomes a string of the request's body.
void add_required(CLI::App& app, const std::shared_ptr<json>& body, const char* option,
                  const char* key, const char* about) {
  app.add_option_function<std::string>(
         option, [body, key](const std::string& text) { (*body)[key] = text; }, about)
      ->required();
}

Action decide(CLI::App& app, const char* decision) {
  const auto body = std::make_shared<json>(json{{"decide", decision}});
  add_required(app, body, "ID", "id", "as 'sockmictl doubt' lists it");
  return [body]() -> Result<> {
    TRY_LET(answer, ask("POST", "/v1/doubt", *body));
    return {};
  };
}

}  // namespace

Action take_over(CLI::App& app, const Globals& globals) {
  const auto body = std::make_shared<json>(json::object());
  add_required(app, body, "ADDRESS", "address", "a service address of this host");
  add_required(app, body, "--to", "to", "the other host, by name or address");
  app.add_flag_callback(
      "--force", [body] { (*body)["force"] = true; },
      "continue if connections are left that no application exports: they end");
  return [body, &globals]() -> Result<> {
    TRY_LET(answer, ask("POST", "/v1/takeovers", *body, kTakeoverTimeout));
    if (globals.as_json) {
      fmt::print("{}\n", json_text(answer));
    } else {
      fmt::print("{} is an address of {} now: {} connections moved, {} lost\n",
                 cell(answer["address"]), cell(answer["host"]), cell(answer["moved"]),
                 answer["lost"].size());
    }
    return {};
  };
}

Action forget_host(CLI::App& app, const Globals& globals) {
  const auto body = std::make_shared<json>(json::object());
  add_required(app, body, "HOST", "host", "the name of the host");
  return [body, &globals]() -> Result<> {
    TRY_LET(answer, ask("POST", "/v1/hosts/forget", *body));
    if (globals.as_json) {
      fmt::print("{}\n", json_text(answer));
    } else {
      fmt::print(
          "{} is given up: {} ends and {} moves of which it was not notified, {} connections that "
          "it held\n",
          cell(answer["host"]), cell(answer["pending_ends"]), cell(answer["forwarded"]),
          cell(answer["held"]));
    }
    return {};
  };
}

Action commit_endpoint(CLI::App& app, const Globals&) {
  return decide(app, "commit");
}

Action discard_endpoint(CLI::App& app, const Globals&) {
  return decide(app, "discard");
}

Action arm_fault(CLI::App& app, const Globals&) {
  const auto body = std::make_shared<json>(json{{"count", 1}});
  add_required(app, body, "NAME", "name", "the fault point");
  app.add_option_function<unsigned>(
      "COUNT", [body](unsigned count) { (*body)["count"] = count; }, "how often (default: 1)");
  return [body]() -> Result<> {
    TRY_LET(answer, ask("POST", "/v1/testing/faults", *body));
    return {};
  };
}

}  // namespace sockmi::sockmictl
