// What became of an endpoint at its importer: the answer to COMMIT, and the importer's
// memory of it.
#pragma once

#include <deque>
#include <map>
#include <set>

#include "connections/table.h"

namespace sockmi::daemon {

enum class Outcome {
  Unknown,      // the importer has not said: the endpoint may live there
  Lives,        // it thawed there
  NeverThawed,  // and never will: it continues at its exporter
  Ended,        // it thawed there, and its socket is gone
};

// Converts a verdict on COMMIT to an outcome; Unknown if the verdict is none of the
// others.
Outcome outcome_of(const Result<>& verdict);
Result<> verdict_on(Outcome outcome);

// At an importer, the outcomes of each exporter's endpoints. They are kept per exporter,
// so that no other host's messages change or displace them. The journal records which
// endpoints thawed, for as long as an exporter may ask. That an endpoint never thawed is
// recorded only here: a later daemon cannot have such an endpoint either, because a
// frozen endpoint ends with its daemon.
class Outcomes {
 public:
  explicit Outcomes(ConnectionTable& table) : table_(table) {}
  // Loads what an earlier daemon wrote. `alive`: the cookies of all sockets.
  void adopt(const std::set<std::uint64_t>& alive);

  Outcome of(const std::string& host, const wire::MigrationId& id) const;
  // Records the thaw of `imports`. Call it before they thaw; on an error, none of them
  // may.
  Result<> thaw(const std::string& host,
                const std::vector<std::pair<wire::MigrationId, std::uint64_t>>& imports);
  // Changes the outcome of an endpoint that was recorded as thawed, or of one without a
  // record.
  void correct(const std::string& host, const wire::MigrationId& id, Outcome outcome);
  // Drops the journal's record, because the exporter knows the outcome. A late question
  // is still answered.
  void forget(const std::string& host, const wire::MigrationId& id);

 private:
  struct OfHost {
    std::map<wire::MigrationId, Outcome> known;
    std::deque<wire::MigrationId> order;
  };
  void remember(const std::string& host, const wire::MigrationId& id, Outcome outcome);
  ConnectionTable& table_;
  // "": the journal entry of an older daemon, without the exporter's name.
  std::map<std::string, OfHost> hosts_;
};

}  // namespace sockmi::daemon
