// COMMIT: what was decided is said until the importer has said what became of each endpoint. Only then is there anything to do with the sockets here.
#pragma once

#include <memory>
#include <vector>

#include "migration/in_doubt.h"
#include "context/async_event.h"
#include "migration/outcomes.h"
#include "context/world.h"

namespace sockmi::daemon {

// One endpoint that was decided to go.
struct CommitProgress {
  CommitProgress(const asio::any_io_executor& executor, wire::Committed what) : what(std::move(what)), known(executor), settled(executor) {}
  wire::Committed what;
  Outcome outcome = Outcome::Unknown;
  Error reason;               // if it does not live there
  bool asked = false;         // the importer itself has said so; else an operator has
  Clock::time_point thawed;   // at the importer, by our clock, once it is known
  Event known;
  Event settled;              // to be set when the old socket is dealt with: until then the journal must know, should we die

  void decide(Decide how);    // an operator does
};
using Commitments = std::vector<std::shared_ptr<CommitProgress>>;

// Ends when the outcome of all is known, what follows from it is done, and journal and importer need not remember it any more.
asio::awaitable<void> send_commit_until_acknowledged(World& world, cluster::SelectedHost importer, Commitments commitments);

}  // namespace sockmi::daemon
