// sockmid, the daemon: one process per host. This file only connects the modules.
#include <sys/stat.h>

#include <csignal>
#include <cstdio>

#include <sockmi/version.h>
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>
#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/signal_set.hpp>

#include "api/router.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/process.h"
#include "base/spawn.h"
#include "base/stderr_sink.h"
#include "cluster/credentials.h"
#include "connections/records.h"
#include "daemon/daemon.h"
#include "migration/delta_files.h"
#include "migration/marks.h"
#include "sockmid/config.h"
#include "sockmid/wiping_heap.h"
#include "steer/boot_filter.h"

using namespace sockmi;

namespace {

constexpr std::chrono::seconds kLongestHold{300};

// Checks whether the host's certificate is in force, if there is one already.
Result<> check_identity(const sockmid::Config& config) {
  if (!std::filesystem::exists(config.identity)) return {};
  TRY_LET(credentials, cluster::Credentials::load(config.identity));
  TRY(credentials->check(credentials->certificate()));
  if (const std::string warning = credentials->warning(); !warning.empty())
    std::printf("warning: %s\n", warning.c_str());
  return {};
}

// Creates the runtime folder. A daemon for tests may have it on a disk.
Result<> make_runtime_folder(const daemon::Settings& settings) {
  std::error_code error;
  std::filesystem::create_directories(settings.runtime, error);
  auto in_memory = daemon::check_runtime_folder(settings.runtime);
  if (in_memory || !settings.testing) return in_memory;
  log::warn("runtime_folder_not_in_memory", {{"error", in_memory.error()}});
  return {};
}

daemon::Daemon::Config daemon_config(const sockmid::Config& config,
                                     std::shared_ptr<daemon::CrashGuard> guard) {
  auto discovery = config.discovery;
  discovery.address = config.settings.address;
  discovery.other_address = config.settings.other_address;
  discovery.control_port = config.settings.control_port;
  return {.settings = config.settings,
          .policy = config.policy,
          .maxima = config.maxima,
          .state_folder = config.state,
          .discovery = std::move(discovery),
          .guard = std::move(guard)};
}

Result<> run(sockmid::Config config) {
  process::keep_memory_private();
  TRY_LET(guard, daemon::CrashGuard::start(config.state));
  TRY_LET(identity, cluster::Identity::load(config.identity));
  config.settings.host = identity.host;
  config.settings.runtime = std::filesystem::path(config.socket).parent_path();
  TRY(make_runtime_folder(config.settings));
  boost::asio::io_context io(1);
  TRY_LET(daemon, daemon::Daemon::open(io, daemon_config(config, guard), identity));
  TRY_LET(listener, api::serve(io, config.socket, *daemon));
  spawn(io, "keep_guard", daemon::CrashGuard::keep(guard, io));
  boost::asio::signal_set signals(io, SIGTERM, SIGINT);
  signals.async_wait([&](auto, int) {
    (void)::sd_notify(0, "STOPPING=1");
    boost::asio::co_spawn(io, daemon->shut_down(), [&](auto...) { io.stop(); });
    // A second signal ends the daemon without waiting.
    signals.async_wait([&](auto, int) { io.stop(); });
  });
  log::info("daemon_ready", {{"host", identity.host}, {"socket", config.socket}});
  std::puts("sockmid ready");
  std::fflush(stdout);
  (void)::sd_notify(0, "READY=1");
  for (std::size_t handled = 0; !io.stopped();)
    handled = daemon->poll(handled) ? io.poll() : io.run_one();
  log::info("daemon_stopped", {{"host", identity.host}});
  return {};
}

// Blocks packets for moved connections: at boot, before the host has addresses, and
// whenever the kernel's tables have been emptied while no daemon runs (see
// steer/boot_filter.h). Does nothing if a daemon runs: it restores its rules itself, and
// what it redirects must not be dropped.
Result<> hold(const sockmid::Config& config) {
  const auto locked = daemon::JournalFile::lock(config.state);
  if (!locked && locked.error().code == EBUSY) {
    log::info("boot_filter_skipped", {{"reason", "a daemon runs"}});
    return {};
  }
  TRY_LET(journal, daemon::Journal::look(config.state));
  std::vector<FourTuple> tuples;
  for (const auto& [tuple, away] : journal.away())
    if (!away.container && !daemon::is_passive(tuple)) tuples.push_back(tuple);
  TRY(steer::hold_connections(tuples, kLongestHold));
  log::info("boot_filter_installed", {{"count", tuples.size()}});
  return {};
}

void log_to_stderr() {
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("sockmid", log::make_stderr_sink()));
  spdlog::set_pattern("ts=%Y-%m-%dT%H:%M:%S.%e level=%l %v");
  // The end of a log's reader must not end the daemon or its crash guard.
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace

// An exception that nobody expects ends the program, with its message.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) {
  if (argc == 3 && argv[1] == std::string_view(daemon::CrashGuard::kArgument)) {
    process::keep_memory_private();
    log_to_stderr();
    daemon::CrashGuard::watch(argv[2], daemon::kMarks);
  }
  const bool wiped = sockmid::wipe_openssl_heap();
  CLI::App app{"Moves live TCP and TLS connections between hosts. One daemon runs per host.",
               "sockmid"};
  std::string path = "/etc/sockmi/sockmid.toml";
  bool check = false, held = false, verbose = false;
  app.add_option("--config", path, "configuration file, see sockmid.toml(5)")
      ->capture_default_str();
  app.add_flag("--check", check,
               "only check whether the configuration is right and the host's certificate in force");
  app.add_flag("--hold", held,
               "at boot, before the host has addresses: drop packets of moved connections "
               "until the daemon runs, for 300 s at most");
  app.add_flag("--verbose", verbose, "also log which requests are refused, and why");
  app.set_version_flag("--version", "sockmid " SOCKMI_VERSION_STRING);
  CLI11_PARSE(app, argc, argv);
  log_to_stderr();
  if (verbose) spdlog::set_level(spdlog::level::debug);
  if (!wiped) log::error("openssl_heap_not_wiped");
  process::raise_descriptor_limit();
  auto config = sockmid::read_config(path);
  auto done = !config ? Result<>(std::unexpected(config.error()))
              : check ? check_identity(*config)
              : held  ? hold(*config)
                      : run(std::move(*config));
  if (!done) {
    std::fprintf(stderr, "sockmid: %s\n", printable(to_string(done.error())).c_str());
    return config ? 1 : 2;
  }
  if (check) std::puts("the configuration is right");
  return 0;
}
