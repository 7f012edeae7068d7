// What became of an endpoint at its importer: what COMMIT is answered by, and what of that an importer remembers.
#pragma once

#include <deque>
#include <map>
#include <set>

#include "connections/journal.h"

namespace sockmi::daemon {

enum class Outcome {
  Unknown,      // the importer has not said: it may live there
  Lives,        // it thawed there
  NeverThawed,  // and never will: it goes on at its exporter
  Ended,        // it thawed there, and its socket is gone
};

// A verdict on COMMIT; what is none of the others leaves it open.
Outcome outcome_of(const Result<>& verdict);
Result<> verdict_on(Outcome outcome);

// At an importer, of each exporter's endpoints: no other host's word changes, or pushes out, what is kept for one. The journal has what thawed, for as long as an exporter may ask; that something never did, only this knows: a later daemon can not have
// it either, since what is frozen ends with its daemon.
class Outcomes {
 public:
  explicit Outcomes(Journal& journal) : journal_(journal) {}
  // What an earlier daemon wrote. `alive`: the cookies of all sockets.
  void adopt(const std::set<std::uint64_t>& alive);

  Outcome of(const std::string& host, const wire::MigrationId& id) const;
  // To be called before they thaw. An error: none of them may.
  Result<> thaw(const std::string& host, const std::vector<std::pair<wire::MigrationId, std::uint64_t>>& imports);
  void correct(const std::string& host, const wire::MigrationId& id, Outcome outcome);  // of one that should have thawed, or of which nothing is known
  void forget(const std::string& host, const wire::MigrationId& id);  // the exporter knows; a late question is still answered

 private:
  struct OfHost {
    std::map<wire::MigrationId, Outcome> known;
    std::deque<wire::MigrationId> order;
  };
  void remember(const std::string& host, const wire::MigrationId& id, Outcome outcome);
  Journal& journal_;
  std::map<std::string, OfHost> hosts_;  // "": an older daemon has not written from where it came
};

}  // namespace sockmi::daemon
