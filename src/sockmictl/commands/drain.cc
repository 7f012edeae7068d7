// Drains this host: gives the order, and follows it.
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include <CLI/CLI.hpp>

#include "sockmictl/commands.h"
#include "sockmictl/daemon_request.h"
#include "sockmictl/drain_view.h"

namespace sockmi::sockmictl {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

// Longer than the daemon waits for the answers of other hosts.
constexpr std::chrono::seconds kPlanTimeout{60};
constexpr milliseconds kTerminalPause{200}, kLinePause{1000};
// How long a daemon that is restarted may be away.
constexpr std::chrono::seconds kLongestAbsence{30};

volatile sig_atomic_t interrupted = 0;

struct DrainOptions {
  json body = json::object();  // of POST /v1/drain
  bool dry_run = false, detach = false, watch = false;
};

// Returns seconds. Accepts "90", "90s", "10m" and "2h".
Result<unsigned> parse_duration(const std::string& text) {
  unsigned value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
  const unsigned factor = unit == "" || unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  if (error != std::errc() || value == 0 || factor == 0 || value > 30u * 24 * 3600 / factor)
    return fail(EINVAL, "invalid duration '{}': expected 90, 90s, 10m or 2h, at most 30 days",
                text);
  return value * factor;
}

// Draws lines over those that were drawn before.
class Screen {
 public:
  void draw(const std::vector<std::string>& lines) {
    std::string out = drawn_ > 0 ? fmt::format("\x1b[{}F", drawn_) : "";
    out += "\x1b[J";
    for (const std::string& line : lines)
      out += line + "\n";
    drawn_ = lines.size();
    fmt::print("{}", out);
    std::fflush(stdout);
  }
  static std::size_t width() {
    winsize size{};
    return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  }

 private:
  std::size_t drawn_ = 0;
};

// The daemon may be restarted, and then continues the drain.
Result<json> ask_status() {
  for (const auto until = lib::Clock::now() + kLongestAbsence;;) {
    auto answer = ask("GET", "/v1/drain");
    const bool is_away =
        !answer && (answer.error().code == ENXIO || answer.error().code == ECONNRESET ||
                    answer.error().code == ECONNREFUSED);
    if (!is_away || interrupted || lib::Clock::now() > until) return answer;
    std::this_thread::sleep_for(kTerminalPause);
  }
}

// The result of a drain that has ended, as an exit status: see run().
Result<> outcome_of(const json& status) {
  const std::string state = status["state"];
  if (state == "done") return {};
  if (const std::string reason = status.value("reason", ""); !reason.empty())
    return fail(EBUSY, "the drain ended early: {}", reason);
  const std::string left =
      json(status["open"].get<std::uint64_t>() + status["stay"].get<std::uint64_t>()).dump();
  if (const auto cut = status.value("cut", std::uint64_t{0}); cut > 0 && state != "none")
    return fail(state == "deadline" ? ETIME : EBUSY,
                "{} connections did not move and were cut, and {} are left", cut, left);
  if (state == "deadline")
    return fail(ETIME, "the deadline has passed, and {} connections are left", left);
  if (state == "none") return fail(ENOENT, "this host is not cordoned");
  return fail(EBUSY, "{} connections are left", left);
}

void interrupt(int) {
  interrupted = 1;
}

// Shows the progress until the drain ends, or until Ctrl-C.
Result<> follow(bool as_json) {
  struct sigaction action {};
  action.sa_handler = interrupt;
  ::sigaction(SIGINT, &action, nullptr);
  const bool on_terminal = !as_json && ::isatty(STDOUT_FILENO) != 0;
  const milliseconds pause = on_terminal ? kTerminalPause : kLinePause;
  Screen screen;
  for (auto next = lib::Clock::now();;) {
    TRY_LET(status, ask_status());
    const bool running = status["state"] == "running";
    if (as_json) {
      status.erase("left");
      fmt::print("{}\n", json_text(status));
    } else if (on_terminal) {
      screen.draw(progress_block(status, Screen::width()));
    } else if (running) {
      fmt::print("{}\n", progress_line(status));
    }
    std::fflush(stdout);
    if (!running) {
      TRY_LET(last, ask_status());
      if (!as_json) fmt::print("{}", drain_summary(last, socket_owners()));
      std::fflush(stdout);
      return outcome_of(last);
    }
    for (next += pause; !interrupted && lib::Clock::now() < next;)
      std::this_thread::sleep_for(std::min(pause, milliseconds(50)));
    if (interrupted)
      return fail(EINTR, "detached; the drain continues: 'sockmictl drain status --watch'");
  }
}

// The connections of this host, which are read in parts.
Result<json> all_connections() {
  json all = json::array();
  for (;;) {
    TRY_LET(answer,
            ask("GET", fmt::format("/v1/drain/connections?offset={}&limit=4096", all.size())));
    const json& part = answer["connections"];
    all.insert(all.end(), part.begin(), part.end());
    if (part.empty() || all.size() >= answer["total"].get<std::size_t>()) return all;
  }
}

Result<> show_plan(json body, bool as_json) {
  body["dry_run"] = true;
  TRY_LET(answer, ask("POST", "/v1/drain", body, kPlanTimeout));
  TRY_LET(connections, all_connections());
  const DrainPlan plan = make_plan(answer["services"], connections, socket_owners());
  fmt::print("{}", as_json ? json_text(plan_json(plan)) + "\n" : plan_text(plan));
  std::fflush(stdout);
  std::uint64_t stay = 0;
  for (const auto& service : plan.services)
    stay += service.stay();
  if (stay > 0) return fail(EBUSY, "{} connections would stay", stay);
  return {};
}

Result<> begin_drain(const DrainOptions& options, bool as_json) {
  if (options.dry_run) return show_plan(options.body, as_json);
  TRY_LET(status, ask("POST", "/v1/drain", options.body));
  if (status["attached"].get<bool>()) {
    std::fprintf(stderr,
                 "sockmictl: a drain is under way, and goes on as it was ordered: "
                 "following it\n");
  }
  if (!options.detach) return follow(as_json);
  if (as_json) fmt::print("{}\n", json_text(status));
  return {};
}

Result<> show_status(bool watch, bool as_json) {
  if (watch) return follow(as_json);
  TRY_LET(status, ask("GET", "/v1/drain"));
  fmt::print("{}", as_json ? json_text(status, 2) + "\n" : drain_summary(status, socket_owners()));
  return {};
}

// Adds an option that may be repeated; its values become a list of the request's body.
void add_list(CLI::App& app, const std::shared_ptr<DrainOptions>& options, const char* option,
              const char* key, const char* about) {
  app.add_option_function<std::vector<std::string>>(
         option,
         [options, key](const std::vector<std::string>& values) { options->body[key] = values; },
         about)
      ->check([](const std::string& text) {
        // An empty variable of a script must not select everything.
        return text.empty() ? "it is empty" : "";
      });
}

void add_duration(CLI::App& app, const char* option, const char* about,
                  std::function<void(unsigned)> set) {
  app.add_option_function<std::string>(
         option, [set = std::move(set)](const std::string& text) { set(*parse_duration(text)); },
         about)
      ->check([](const std::string& text) {
        const auto parsed = parse_duration(text);
        return parsed ? "" : parsed.error().reason;
      });
}

}  // namespace

Action drain_host(CLI::App& app, const Globals& globals) {
  const auto options = std::make_shared<DrainOptions>();
  add_list(app, options, "--service", "services",
           "only connections of this service (default: of all); may be repeated");
  add_list(app, options, "--to", "to",
           "a host that takes them, by name or address (default: all that accept); may be "
           "repeated");
  add_duration(app, "--deadline", "end after this time: 90s, 10m, 2h",
               [options](unsigned seconds) { options->body["deadline_s"] = seconds; });
  app.add_option_function<unsigned>(
         "--rate", [options](unsigned rate) { options->body["rate"] = rate; },
         "connections per second, at most (default: as fast as possible)")
      ->check(CLI::Range(1, 1'000'000));
  app.add_option_function<std::string>(
         "--on-stuck", [options](const std::string& what) { options->body["on_stuck"] = what; },
         "what becomes of connections that cannot move: wait (tried until the deadline), "
         "report (they stay; the default) or cut (reset at the end)")
      ->check(CLI::IsMember({"wait", "report", "cut"}));
  app.add_flag_callback(
      "--for-reboot", [options] { options->body["for_reboot"] = true; },
      "import connections again after the next boot of this host");
  auto* dry_run =
      app.add_flag("--dry-run", options->dry_run, "only show where the connections would go");
  app.add_flag("--detach", options->detach, "do not wait for the end")->excludes(dry_run);
  return [options, &globals] {
    return begin_drain(*options, globals.as_json);
  };
}

Action show_drain(CLI::App& app, const Globals& globals) {
  const auto options = std::make_shared<DrainOptions>();
  app.add_flag("--watch", options->watch, "follow the drain until it ends");
  return [options, &globals] {
    return show_status(options->watch, globals.as_json);
  };
}

// Prints nothing but, with --json, the last status. Its exit status is that of the drain.
Action wait_for_drain(CLI::App& app, const Globals& globals) {
  const auto limit = std::make_shared<std::optional<unsigned>>();
  add_duration(app, "--timeout", "give up after this time: 90s, 10m, 2h (default: never)",
               [limit](unsigned seconds) { *limit = seconds; });
  return [limit, &globals]() -> Result<> {
    const auto until =
        *limit ? lib::Clock::now() + std::chrono::seconds(**limit) : lib::Clock::time_point::max();
    for (;;) {
      TRY_LET(status, ask_status());
      if (status["state"] != "running") {
        if (globals.as_json) fmt::print("{}\n", json_text(status));
        std::fflush(stdout);
        return outcome_of(status);
      }
      if (lib::Clock::now() >= until) return fail(ETIME, "the drain goes on after {} s", **limit);
      std::this_thread::sleep_for(
          std::min<lib::Clock::duration>(kTerminalPause, until - lib::Clock::now()));
    }
  };
}

Action stop_drain(CLI::App&, const Globals& globals) {
  return [&globals]() -> Result<> {
    TRY_LET(status, ask("POST", "/v1/drain/stop"));
    fmt::print("{}",
               globals.as_json ? json_text(status) + "\n" : drain_summary(status, socket_owners()));
    return {};
  };
}

Action undrain_host(CLI::App&, const Globals&) {
  return []() -> Result<> {
    TRY_LET(answer, ask("POST", "/v1/undrain"));
    return {};
  };
}

}  // namespace sockmi::sockmictl
