// Moves relays to another host: the two connections of each are a group, and what is
// between them is the payload of the first one. A connection that has ended in both
// directions is not needed any more, and does not move.
#pragma once

#include <map>
#include <span>

#include "proxy/relay_runner.h"

namespace sockmi::proxy {

// Two connections each; a call of the library sends as many at a time.
inline constexpr std::size_t kMaxRelaysPerExport = 32;

struct ExportTarget {
  std::string service;  // the daemon's
  int family = AF_UNSPEC;
  std::array<unsigned char, 16> host{};  // its address; without a family: any host
};

enum class Fate {
  Moved,    // the relay has left
  Stays,    // it continues here
  Unknown,  // a connection is frozen: nothing may be done with the relay until it is not
};

struct ExportResult {
  std::vector<Fate> fates;                                    // of each relay
  std::map<int, std::pair<std::size_t, std::string>> errors;  // by errno: how many, and why
};

// Tries to move them. Blocks, for half a minute at most.
ExportResult export_relays(std::span<StoppedRelay> relays, const ExportTarget& target);

// Returns what became of a relay that was Unknown.
Fate fate_of(StoppedRelay& relay);

}  // namespace sockmi::proxy
