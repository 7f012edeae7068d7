// The endpoints in doubt: frozen until another host or an operator decides where they
// live. A guess could make two live endpoints, or none.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::daemon {

enum class Decide { Commit, Discard };  // the endpoint lives at its importer / at its exporter

struct Doubt {
  // "import": prepared here, and the exporter does not answer. "export": decided here,
  // and the importer does not answer. "frozen": see frozen_sockets.h.
  const char* kind;
  FourTuple tuple;
  std::string host;  // the other host
  std::chrono::system_clock::time_point since;
  // Called when an operator decides. May remove this Doubt.
  std::function<Result<>(Decide)> decide;
};

// The id under which a socket that stays frozen is in doubt.
std::string frozen_id(std::uint64_t cookie);

class Doubts {
 public:
  void add(const std::string& id, Doubt doubt);  // logs it the first time
  void settled(const std::string& id);           // does nothing if `id` is not in doubt
  bool has(const std::string& id) const { return all_.contains(id); }
  Result<> decide(const std::string& id, Decide how);  // Errors: ENOENT.
  const std::map<std::string, Doubt>& all() const { return all_; }

 private:
  std::map<std::string, Doubt> all_;
};

}  // namespace sockmi::daemon
