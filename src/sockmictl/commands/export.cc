// Has connections exported: by the applications that hold them, or, for a process that
// does not use sockmi, by sockmictl itself.
#include <sys/types.h>

#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>

#include "base/address.h"
#include "lib/daemon_requests.h"
#include "sockmictl/commands.h"
#include "sockmictl/daemon_request.h"
#include "sockmictl/foreign_process.h"

namespace sockmi::sockmictl {
namespace {

using nlohmann::json;

// Longer than the daemon waits for the applications, which is a minute.
constexpr std::chrono::seconds kExportTimeout{70};
// Milliseconds: the maximum time for which a process is stopped.
constexpr int kMaxStoppedMs = 10'000;

struct Options {
  json criteria = json::object();  // the body of POST /v1/requests
  pid_t pid = 0;
  int descriptor = -1;
};

Result<> ask_applications(const json& criteria, bool as_json) {
  TRY_LET(answer, ask("POST", "/v1/requests", criteria, kExportTimeout));
  if (as_json) {
    fmt::print("{}\n", json_text(answer));
  } else {
    fmt::print("{} exported, {} failed, by {} of {} applications\n", cell(answer["exported"]),
               cell(answer["failed"]), cell(answer["answered"]), cell(answer["applications"]));
  }
  if (answer["answered"] != answer["applications"]) {
    return fail(ETIMEDOUT, "applications of {} did not answer",
                answer.value("unanswered", json::array()).dump());
  }
  if (answer["failed"] != 0) {
    return fail(EIO, "cannot export {} connections; see 'sockmictl migrations'",
                answer["failed"].dump());
  }
  return {};
}

Result<IpAddress> address_of(const std::string& host) {
  if (host.empty()) return IpAddress{};
  if (auto ip = IpAddress::parse(host)) return ip;
  TRY_LET(answer, ask("GET", "/v1/hosts"));
  for (const auto& each : answer["hosts"])
    if (each["host"] == host) return IpAddress::parse(each["address"].get<std::string>());
  return fail(EHOSTUNREACH, "host '{}' is not known here", host);
}

Result<> export_foreign(const Options& options) {
  TRY_LET(to, address_of(options.criteria.value("to", "")));
  TRY_LET(daemon, lib::Client::connect(lib::soon()));
  if (daemon.peer_pid() == options.pid)
    return fail(EINVAL, "process {} is the daemon itself", options.pid);
  const SignalsHeld held;  // must outlive `process`
  TRY_LET(process, ForeignProcess::hold(options.pid));
  TRY_LET(socket, process.duplicate(options.descriptor));
  const std::string service = options.criteria.value("service", "default");
  const sockmi_export_options with{
      .service = service.c_str(), .payload = nullptr, .payload_len = 0, .timeout = kMaxStoppedMs};
  TRY(lib::export_endpoint(socket.get(), SOCKMI_CONNECTED, to.family, to.bytes.data(), {}, &with));
  fmt::print("exported descriptor {} of process {}\n", options.descriptor, options.pid);
  std::fflush(stdout);
  return {};
}

}  // namespace

Action export_connections(CLI::App& app, const Globals& globals) {
  const auto options = std::make_shared<Options>();
  const auto criterion = [&](const std::string& option, const char* about) {
    app.add_option_function<std::string>(
           option,
           [options, key = option.substr(2)](const std::string& text) {
             options->criteria[key] = text;
           },
           about)
        ->check([](const std::string& text) {
          // An empty variable of a script must not select every connection.
          return text.empty() ? "it is empty" : "";
        });
  };
  criterion("--service", "the service of the connections (default: 'default')");
  criterion("--to", "the host that takes them, by name or address (default: any that accepts)");
  criterion("--local", "only connections with this local ADDRESS[:PORT]");
  criterion("--peer", "only connections with this ADDRESS[:PORT] of the peer");
  auto* pid = app.add_option("--pid", options->pid,
                             "instead: one socket of this process, which does not use sockmi; you "
                             "must be allowed to trace it");
  pid->check(CLI::PositiveNumber)->excludes("--local")->excludes("--peer");
  auto* descriptor =
      app.add_option("--fd", options->descriptor, "the socket's descriptor in that process");
  descriptor->check(CLI::NonNegativeNumber)->needs(pid);
  pid->needs(descriptor);
  return [options, &globals] {
    return options->pid != 0 ? export_foreign(*options)
                             : ask_applications(options->criteria, globals.as_json);
  };
}

}  // namespace sockmi::sockmictl
