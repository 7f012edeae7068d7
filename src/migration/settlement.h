// What becomes of an exporter's socket when its importer has said what became of the endpoint there.
#pragma once

#include "migration/commit.h"
#include "migration/export_state.h"

namespace sockmi::daemon {

// By commitment.outcome, which is known; no straggler is under way any more. Sets one.result.
asio::awaitable<void> settle(World& world, const cluster::SelectedHost& importer, ExportedEndpoint& one, CommitProgress& commitment);
// They live there: from here on nobody writes to their sockets here. What was done to them since hold() by those who were asleep in a call at that time is
// told to the importer, which gives these endpoints to nobody before.
void seal(World& world, const cluster::SelectedHost& importer, std::span<ExportedEndpoint* const> those);
// Nothing is known yet: the socket stays frozen until something is, in a task of its own; one.result is EINPROGRESS. An operator may decide.
void leave_in_doubt(World& world, const cluster::SelectedHost& importer, ExportedEndpoint& one, std::shared_ptr<CommitProgress> commitment);

// For redirects that must be there, or gone, though the kernel refuses at the moment. They give up with the connection's next move.
asio::awaitable<void> insist_on_redirects(World& world, std::vector<steer::Redirect> redirects);
asio::awaitable<void> insist_on_removal(World& world, std::vector<FourTuple> tuples);

}  // namespace sockmi::daemon
