// What a drain must remember across restarts of the daemon, and the file that has it.
//
// The file is STATE/drain, one JSON object. It exists while the host is cordoned. It is
// replaced in one step, and like the journal not synced to the disk: a host that dies
// takes its connections along. A file that cannot be understood was written by a
// cordoned host, so the host continues to import nothing until an operator decides.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace sockmi::daemon {

using WallTime = std::chrono::system_clock::time_point;

// What becomes of connections that have been tried in vain.
enum class OnStuck {
  Report,  // they stay, and the drain ends
  Wait,    // they are tried again, until the deadline or the operator ends the drain
  Cut,     // they are reset at the end of the drain
};
const char* to_string(OnStuck what);
// Errors: EINVAL if it is no name of one.
Result<OnStuck> parse_on_stuck(const std::string& text);

// What the operator has ordered.
struct DrainOrder {
  std::vector<std::string> services;  // empty: all
  std::vector<std::string> hosts;     // names; empty: all that are willing
  std::optional<WallTime> deadline;
  unsigned rate = 0;  // connections per second; 0: as fast as possible
  OnStuck on_stuck = OnStuck::Report;
  std::string boot;  // the boot after which the host is cordoned no more; "": no such one
  bool operator==(const DrainOrder&) const = default;
};

enum class DrainPhase {
  None,        // not cordoned
  Running,     // connections are being moved
  Done,        // no connection of an application is left
  Incomplete,  // all has been tried, and some stay
  Deadline,    // the deadline has passed, and some stay
  Stopped,     // by an operator
};
const char* to_string(DrainPhase phase);

struct DrainState {
  DrainPhase phase = DrainPhase::None;
  DrainOrder order;
  WallTime began{}, ended{};
  std::string reason;  // why it ended early, if neither an operator nor its deadline ended it
  std::map<std::string, std::uint64_t> moved;     // by host
  std::map<std::string, std::uint64_t> failures;  // attempts that failed, by reason
  std::uint64_t cut = 0;                          // connections that the drain has reset

  // While it is true, the host imports nothing new.
  bool cordoned() const { return phase != DrainPhase::None; }
  std::uint64_t total_moved() const;
  void count_failure(const std::string& reason);
  bool operator==(const DrainState&) const = default;
};

// More reasons than that are counted together.
inline constexpr std::size_t kMostReasons = 64;

std::string text_of(const DrainState& state);
// Errors: EBADMSG if this is no text of a state.
Result<DrainState> parse_drain_state(const std::string& text);

class DrainFile {
 public:
  explicit DrainFile(const std::filesystem::path& folder) : path_(folder / "drain") {}
  // Without a file, the host is not cordoned. Errors: EBADMSG if the file is damaged.
  Result<DrainState> load() const;
  Result<> store(const DrainState& state) const;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace sockmi::daemon
