// Sends COMMIT: repeats the decision until the importer has said what became of each
// endpoint. Only then is anything done with the old sockets.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "context/async_event.h"
#include "context/in_doubt.h"
#include "migration/exports.h"
#include "migration/outcomes.h"

namespace sockmi::daemon {

// The COMMIT of one decided endpoint.
struct CommitProgress {
  CommitProgress(const asio::any_io_executor& executor, wire::Committed what)
      : what(std::move(what)),
        known(executor),
        settled(executor) {}
  wire::Committed what;
  Outcome outcome = Outcome::Unknown;
  Error reason;              // if the endpoint does not live at the importer
  bool asked = false;        // the importer itself has answered; false: an operator has decided
  Clock::time_point thawed;  // time of the thaw at the importer, by our clock, once it is known
  Event known;
  // Set by the caller when the old socket is dealt with. Until then the journal keeps the
  // decision, for the daemon after this one.
  Event settled;
  std::vector<std::weak_ptr<CommitProgress>> group;  // the others of its group

  void decide(Decide how);  // by an operator, for the whole group
};
using Commitments = std::vector<std::shared_ptr<CommitProgress>>;

// Makes them a group: what an operator decides on one of them holds for all. The importer
// gives one verdict on all.
void make_group(std::span<const std::shared_ptr<CommitProgress>> those);

// Returns when the outcome of all is known, when its consequences are done
// (CommitProgress::settled), and when neither the journal nor the importer needs to
// remember it any longer.
asio::awaitable<void> send_commit_until_acknowledged(Exports& exports,
                                                     cluster::SelectedHost importer,
                                                     Commitments commitments);

// Sends Abort once: nothing depends on its arrival.
asio::awaitable<void> send_abort(cluster::ControlChannel& control, cluster::SelectedHost importer,
                                 std::vector<wire::MigrationId> ids);

}  // namespace sockmi::daemon
