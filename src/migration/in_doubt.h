// What only another host, or an operator, can decide: endpoints that are kept frozen because a guess could make two live ones of them, or none.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::daemon {

enum class Decide { Commit, Discard };  // it lives at its importer, or at its exporter

struct Doubt {
  const char* kind;  // "import": prepared here, and its exporter does not answer; "export": decided, and its importer does not; "mute": see orphans.h
  FourTuple tuple;
  std::string host;  // the other one
  std::chrono::system_clock::time_point since;
  std::function<Result<>(Decide)> decide;  // an operator has; may take the doubt away
};

class Doubts {
 public:
  void add(const std::string& id, Doubt doubt);  // logs, once
  void settled(const std::string& id);           // no error if it was in no doubt
  bool has(const std::string& id) const { return all_.contains(id); }
  Result<> decide(const std::string& id, Decide how);  // ENOENT
  const std::map<std::string, Doubt>& all() const { return all_; }

 private:
  std::map<std::string, Doubt> all_;
};

}  // namespace sockmi::daemon
