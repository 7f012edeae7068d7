// sockmi-proxy: relays byte streams between clients and backends.
#include <csignal>
#include <cstdio>

#include <sockmi/appsockmi.h>
#include <sockmi/version.h>
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>
#include <CLI/CLI.hpp>

#include "base/log.h"
#include "base/process.h"
#include "base/stderr_sink.h"
#include "proxy/privileges.h"
#include "proxy/server.h"

using namespace sockmi;

namespace {

void log_to_stderr() {
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("sockmi-proxy", log::make_stderr_sink()));
  spdlog::set_pattern("ts=%Y-%m-%dT%H:%M:%S.%e level=%l %v");
  std::signal(SIGPIPE, SIG_IGN);
}

Result<> check(const std::string& path) {
  TRY_LET(config, proxy::read_config(path));
  TRY(proxy::make_plan(std::move(config), {}, [] {}));
  return {};
}

Result<> run(const std::string& path) {
  process::keep_memory_private();
  proxy::Server server([path] { return proxy::read_config(path); });
  TRY(server.start());
  if (!server.config().user.empty()) {
    TRY(proxy::become_user(server.config().user));
    process::keep_memory_private();  // a change of the user has undone it
  }
  log::info("proxy_ready", {{"threads", server.threads()}, {"count", server.listeners()}});
  std::puts("sockmi-proxy ready");
  std::fflush(stdout);
  (void)::sd_notify(0, "READY=1");
  server.run();
  log::info("proxy_stopped");
  return {};
}

}  // namespace

// An exception that nobody expects ends the program, with its message.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) {
  CLI::App app{"Relays byte streams between clients and backends.", "sockmi-proxy"};
  std::string path = "/etc/sockmi/sockmi-proxy.toml";
  bool only_check = false, verbose = false;
  app.add_option("--config", path, "configuration file, see sockmi-proxy.toml(5)")
      ->capture_default_str();
  app.add_flag("--check", only_check, "only check whether the configuration is right");
  app.add_flag("--verbose", verbose, "also log events of the level debug");
  app.set_version_flag("--version", "sockmi-proxy " SOCKMI_VERSION_STRING);
  CLI11_PARSE(app, argc, argv);
  log_to_stderr();
  if (verbose) spdlog::set_level(spdlog::level::debug);
  process::raise_descriptor_limit();
  // Before any TLS context is made, so that its connections can be exported.
  if (sockmi_enable(nullptr) != 0) {
    std::fprintf(stderr, "sockmi-proxy: %s\n", sockmi_last_error());
    return 1;
  }
  const auto done = only_check ? check(path) : run(path);
  if (!done) {
    std::fprintf(stderr, "sockmi-proxy: %s\n", to_string(done.error()).c_str());
    return done.error().code == EINVAL ? 2 : 1;
  }
  if (only_check) std::puts("the configuration is right");
  return 0;
}
