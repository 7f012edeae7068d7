// What became of an endpoint at its importer: the answer to COMMIT, and the importer's
// memory of it.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <span>

#include "connections/table.h"

namespace sockmi::daemon {

enum class Outcome {
  Unknown,  // the importer has not said: the endpoint may live there
  // It thawed there, and an application has had it since, or it has moved on, or it can
  // still get to an application. Where it is by now is not the exporter's business.
  Lives,
  NeverThawed,  // and never will: it continues at its exporter
  Ended,        // it thawed there, and ended with the daemon, which alone had its socket
};

// Converts a verdict on COMMIT to an outcome; Unknown if the verdict is none of the
// others.
Outcome outcome_of(const Result<>& verdict);
Result<> verdict_on(Outcome outcome);

// At an importer, the outcomes of each exporter's endpoints. They are kept per exporter,
// so that no other host's messages change or displace them. The journal records which
// endpoints thawed, and which of them have left the daemon since, until the exporter has
// the outcome (forget()): until then it may ask, also after years. Only the exporter's
// own next 65,536 imports displace them. That an endpoint never thawed is recorded only
// here: a later daemon cannot have such an endpoint either, because a frozen endpoint
// ends with its daemon.
class Outcomes {
 public:
  explicit Outcomes(ConnectionTable& table) : table_(table) {}
  // Loads what an earlier daemon wrote. `alive`: the cookies of all sockets.
  void adopt(const std::set<std::uint64_t>& alive);

  Outcome of(const std::string& host, const wire::MigrationId& id) const;
  // Records the thaw of `imports`. Call it before they thaw; on an error, none of them
  // may.
  Result<> thaw(const std::string& host, const std::vector<Thawing>& imports);
  // The exporter asks for an endpoint that is not prepared here. Without a record it
  // never thawed, and from now on never will: the exporter continues with its own. But
  // where the journal was damaged, the record may be what was lost, and the outcome stays
  // Unknown.
  Outcome give_up(const std::string& host, const wire::MigrationId& id);
  // Changes the outcome of endpoints that were recorded as thawed, or of ones without a
  // record: of a group, all at once. `away`: where those that never thawed continue whose
  // home is here.
  void correct(const std::string& host, std::span<const wire::MigrationId> group, Outcome outcome,
               std::span<const Journal::Away> away = {});
  void correct(const std::string& host, const wire::MigrationId& id, Outcome outcome) {
    correct(host, {&id, 1}, outcome);
  }
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
