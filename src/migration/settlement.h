// Settles the exporter's old socket when the importer has said what became of the
// endpoint.
#pragma once

#include <span>

#include "connections/connections.h"
#include "migration/commit.h"
#include "migration/export_state.h"

namespace sockmi::daemon {

// Acts on commitment.outcome, which must be known. No straggler may be in flight any
// more. Sets one.result.
asio::awaitable<void> settle(Connections& connections, const cluster::SelectedHost& importer,
                             ExportedEndpoint& one, CommitProgress& commitment);
// For endpoints that live at the importer: ends all writing to their old sockets. Sends
// what threads that slept in a call did to them since hold() (late writes) to the
// importer, which gives these endpoints to no application before it has received that.
void seal(const Services& services, const cluster::SelectedHost& importer,
          std::span<ExportedEndpoint* const> those);
// For an endpoint without an answer: keeps the socket frozen until there is one, in a
// task of its own, and sets one.result to EINPROGRESS. An operator may decide instead.
void leave_in_doubt(Connections& connections, const cluster::SelectedHost& importer,
                    ExportedEndpoint& one, std::shared_ptr<CommitProgress> commitment);

}  // namespace sockmi::daemon
