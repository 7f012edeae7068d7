#include "migration/orphaned_sockets.h"

#include <map>
#include <set>

#include <sockmi/sockmi.h>

#include "base/log.h"
#include "base/spawn.h"
#include "migration/commit.h"
#include "migration/delta_files.h"
#include "migration/export_state.h"
#include "migration/marks.h"
#include "migration/settlement.h"
#include "steer/packet_marks.h"
#include "tcp/states.h"

namespace sockmi::daemon {
namespace {

// Reconstructs the exporter's state of a decided endpoint, as far as the journal contains
// it.
std::shared_ptr<ExportedEndpoint> remembered(Exports& exports, const wire::MigrationId& id,
                                             const Decision& decision, const Sockets& sockets) {
  const RemoteConnection* away = exports.table.find_remote(decision.tuple);
  // Goes home unless it is away.
  wire::Endpoint endpoint{.home = decision.host, .home_control = decision.control_address};
  if (away) {
    endpoint.service = away->service;
    endpoint.home = away->home;
    endpoint.home_control = away->home_control;
    endpoint.generation = away->generation;
  }
  // Of the hop that was decided: the connection may have moved on, and even back, since.
  if (decision.generation != 0) endpoint.generation = decision.generation;
  unique_fd descriptor;
  const auto socket = sockets.find(decision.cookie);
  if (is_passive(decision.tuple)) {
    endpoint.state = socket != sockets.end() && socket->second.state == tcp::kListen
                         ? SOCKMI_LISTENING
                         : SOCKMI_BOUND;
  } else if (socket != sockets.end() && socket->second.mark == steer::kFreezeMark) {
    if (auto found = descriptor_of(socket->second)) descriptor = std::move(*found);
  }
  auto one = std::make_shared<ExportedEndpoint>(
      ExportItem{std::move(descriptor), std::move(endpoint), -1});
  one->id = id;
  one->tuple = decision.tuple;
  one->cookie = decision.cookie;
  one->owner = tcp::OriginalOptions{.mark = decision.mark};
  one->redirected = away != nullptr;
  one->decided = one->adopted = true;
  one->record = {.id = id,
                 .exported = true,
                 .service = one->endpoint.service,
                 .from = exports.services.settings.host,
                 .to = decision.host,
                 .tuple = decision.tuple,
                 .started = std::chrono::system_clock::now()};
  if (one->endpoint.home != exports.services.settings.host) {
    one->imported = ImportedConnection{.tuple = decision.tuple,
                                       .service = one->endpoint.service,
                                       .home = one->endpoint.home,
                                       .home_control = one->endpoint.home_control,
                                       .from = one->endpoint.home,
                                       .from_control = one->endpoint.home_control,
                                       .generation = one->endpoint.generation};
  }
  if (one->socket) {
    if (auto frozen = tcp::FrozenSocket::resume(one->socket.get(), *one->owner, kMarks))
      one->frozen.emplace(std::move(*frozen));
  }
  return one;
}

std::shared_ptr<CommitProgress> commitment_of(Exports& exports, const wire::MigrationId& id) {
  wire::Committed committed{.id = id};
  if (auto delta = kept_delta(exports.services.settings.runtime, id)) {
    committed.delta = std::move(*delta);
    // The socket was an earlier daemon's: what was written to it after that is unknown.
    committed.delta.more = false;
    exports.undecided.insert(id);  // an importer that asks has to wait for it
  } else if (delta.error().code != ENOENT) {
    log::error("freeze_delta_read_failed",
               {{"migration", wire::to_hex(id)}, {"error", delta.error()}});
  }
  return std::make_shared<CommitProgress>(exports.services.io.get_executor(), std::move(committed));
}

}  // namespace

void adopt_orphans(Exports& exports, const Sockets& sockets) {
  const auto decisions = exports.table.journal().decisions();
  drop_unexplained_deltas(exports.services.settings.runtime, exports.table.journal());
  std::set<std::uint64_t> decided;
  for (const auto& [id, decision] : decisions)
    decided.insert(decision.cookie);
  for (const auto& [cookie, socket] : sockets) {
    if (socket.mark != steer::kFreezeMark || decided.contains(cookie)) continue;
    // An endpoint that has left, or has ended: what remains of its socket keeps the mark.
    if (!tcp::is_movable(socket.state)) continue;
    // Its decision may be what a damaged journal has lost.
    const auto given = exports.table.journal().may_lack_facts()
                           ? Result<>(fail(EUCLEAN, "the journal is damaged"))
                           : unfreeze(exports.services, socket, 0);
    log::warn("frozen_socket_found", {{"connection", socket.tuple},
                                      {"unfrozen", given.has_value()},
                                      {"error", given ? "" : to_string(given.error())}});
    if (!given) leave_frozen(exports.connections, socket.tuple, cookie, 0);
  }
  std::map<wire::MigrationId, std::vector<wire::MigrationId>> groups;
  for (const auto& [id, decision] : decisions)
    // Written by an older daemon, without the importer. An importer that asks gets an
    // answer.
    if (!decision.host.empty()) groups[decision.group.value_or(id)].push_back(id);
  for (const auto& [group, ids] : groups) {
    Commitments commitments;
    for (const auto& id : ids)
      commitments.push_back(commitment_of(exports, id));
    make_group(commitments);
    const Decision& first = decisions.at(ids.front());
    const cluster::SelectedHost importer{.host = first.host,
                                         .control_address = first.control_address};
    spawn(exports.services.io, "repeat_commit",
          send_commit_until_acknowledged(exports, importer, commitments));
    for (std::size_t i = 0; i < ids.size(); ++i) {
      auto one = remembered(exports, ids[i], decisions.at(ids[i]), sockets);
      leave_in_doubt(exports.connections, importer, *one, commitments[i]);
    }
  }
}

}  // namespace sockmi::daemon
