#include "drain/drain_state.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <numeric>

#include <nlohmann/json.hpp>

#include "base/unique_fd.h"
#include "connections/journal_file.h"

namespace sockmi::daemon {
namespace {

using nlohmann::json;

constexpr std::array<const char*, 6> kPhases = {"none",       "running",  "done",
                                                "incomplete", "deadline", "stopped"};
constexpr std::array<const char*, 3> kOnStuck = {"report", "wait", "cut"};
constexpr const char* kOtherReasons = "other reasons";

std::int64_t milliseconds_of(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

WallTime wall_time(std::int64_t milliseconds) {
  return WallTime(std::chrono::milliseconds(milliseconds));
}

}  // namespace

const char* to_string(DrainPhase phase) {
  return kPhases.at(static_cast<std::size_t>(phase));
}

const char* to_string(OnStuck what) {
  return kOnStuck.at(static_cast<std::size_t>(what));
}

Result<OnStuck> parse_on_stuck(const std::string& text) {
  const auto found = std::ranges::find(kOnStuck, text);
  if (found == kOnStuck.end())
    return fail(EINVAL, "invalid on_stuck '{}': expected wait, report or cut", text);
  return static_cast<OnStuck>(found - kOnStuck.begin());
}

std::uint64_t DrainState::total_moved() const {
  return std::accumulate(moved.begin(), moved.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const auto& each) { return sum + each.second; });
}

void DrainState::count_failure(const std::string& reason) {
  ++failures[failures.size() < kMostReasons || failures.contains(reason) ? reason : kOtherReasons];
}

std::string text_of(const DrainState& state) {
  json out{{"phase", to_string(state.phase)},
           {"services", state.order.services},
           {"hosts", state.order.hosts},
           {"rate", state.order.rate},
           {"on_stuck", to_string(state.order.on_stuck)},
           {"cut", state.cut},
           {"boot", state.order.boot},
           {"began_ms", milliseconds_of(state.began)},
           {"ended_ms", milliseconds_of(state.ended)},
           {"reason", state.reason},
           {"moved", state.moved},
           {"failures", state.failures}};
  if (state.order.deadline) out["deadline_ms"] = milliseconds_of(*state.order.deadline);
  return out.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace) + "\n";
}

// The JSON library throws if a value is missing, or has another type.
Result<DrainState> parse_drain_state(const std::string& text) try {
  const json from = json::parse(text);
  const auto phase = std::ranges::find(kPhases, from.at("phase").get<std::string>());
  if (phase == kPhases.end()) return fail(EBADMSG, "unknown phase");
  TRY_LET(on_stuck, parse_on_stuck(from.value("on_stuck", "report")));
  DrainState state{.phase = static_cast<DrainPhase>(phase - kPhases.begin()),
                   .order = {.services = from.at("services"),
                             .hosts = from.at("hosts"),
                             .deadline = {},
                             .rate = from.at("rate"),
                             .on_stuck = on_stuck,
                             .boot = from.value("boot", std::string())},
                   .began = wall_time(from.at("began_ms")),
                   .ended = wall_time(from.at("ended_ms")),
                   .reason = from.value("reason", std::string()),
                   .moved = from.at("moved"),
                   .failures = from.at("failures"),
                   .cut = from.value("cut", std::uint64_t{0})};
  if (from.contains("deadline_ms")) state.order.deadline = wall_time(from.at("deadline_ms"));
  return state;
} catch (const json::exception& error) {
  return fail(EBADMSG, "{}", error.what());
}

Result<DrainState> DrainFile::load() const {
  std::error_code error;
  const bool exists = std::filesystem::exists(path_, error);
  if (!exists && !error) return DrainState();
  TRY_LET(text, JournalFile::read(path_));
  auto state = parse_drain_state(text);
  if (!state) return fail(EBADMSG, "{} is damaged: {}", path_.string(), state.error().reason);
  return state;
}

Result<> DrainFile::store(const DrainState& state) const {
  if (!state.cordoned()) {
    if (::unlink(path_.c_str()) != 0 && errno != ENOENT)
      return fail_errno("cannot remove " + path_.string());
    return {};
  }
  const std::string aside = path_.string() + ".new", text = text_of(state);
  const unique_fd file(::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return fail_errno("cannot create " + aside);
  const ssize_t written = ::write(file.get(), text.data(), text.size());
  if (written < 0) return fail_errno("cannot write " + aside);
  if (static_cast<std::size_t>(written) != text.size())
    return fail(ENOSPC, "cannot write {}: the disk is full", aside);
  if (::rename(aside.c_str(), path_.c_str()) != 0)
    return fail_errno("cannot replace " + path_.string());
  return {};
}

}  // namespace sockmi::daemon
