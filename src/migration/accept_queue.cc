#include "migration/accept_queue.h"

#include <openssl/rand.h>
#include <sockmi/sockmi.h>

#include "connections/accepted.h"
#include "connections/redirects.h"
#include "tcp/socket_info.h"

namespace sockmi::daemon {
namespace {

void keep_here(Exports& exports, const ExportedEndpoint& listener, unique_fd socket) {
  const auto facts = tcp::socket_info(socket.get());
  if (!facts) return;  // the connection has ended
  wire::MigrationId id{};
  RAND_bytes(id.data(), id.size());
  exports.import_queue.add({.id = id,
                            .endpoint = {.service = listener.endpoint.service,
                                         .owner = listener.endpoint.owner,
                                         .state = SOCKMI_CONNECTED},
                            .tuple = facts->tuple,
                            .socket = std::move(socket),
                            .cookie = facts->cookie,
                            .since = Clock::now()});
}

// Notifies home of the connections that the listener accepted and that stay here. Once
// the listener has thawed there, home would reject these claims. It would reject those of
// connections that move in the same batch now, because it holds them already.
asio::awaitable<Result<>> notify_of_accepted(Exports& exports, const ExportedEndpoint& listener,
                                             std::string home, Clock::time_point decide_by) {
  const ImportedConnection* found = exports.table.find_imported(listener.cookie);
  if (!found || found->home != home) co_return Result<>();
  const ImportedConnection imported = *found;
  // The other endpoints of the batch are frozen and wait for this, so it gets half of the
  // time.
  const auto until = Clock::now() + (decide_by - Clock::now()) / 2;
  const std::function<bool()> is_due = [until] {
    return Clock::now() < until;
  };
  Connections& connections = exports.connections;
  co_await claim_accepted(connections.services, connections.table, connections.rules,
                          listener.tuple.local, imported, is_due, Clock::time_point::max(),
                          Frozen::Excluded);
  if (!is_due()) co_return fail(ETIMEDOUT, "home does not know all accepted connections in time");
  co_return Result<>();
}

}  // namespace

asio::awaitable<Result<>> move_accept_queue(Exports& exports, ExportedEndpoint& listener,
                                            const cluster::SelectedHost& importer,
                                            const ExportMore& export_more,
                                            Clock::time_point decide_by) {
  const IpAddress target = importer.control_address.ip;
  std::vector<unique_fd> accepted;
  auto emptied = co_await empty_accept_queue(exports.services, listener.socket.get(),
                                             listener.tuple.local, accepted);
  std::vector<ExportItem> items;
  std::vector<unique_fd> kept;
  for (unique_fd& socket : accepted) {
    kept.push_back(socket.dup());
    items.push_back({std::move(socket),
                     {.service = listener.endpoint.service,
                      .owner = listener.endpoint.owner,
                      .state = SOCKMI_CONNECTED}});
  }
  // g++ 12 destroys the result of a conditional expression with co_await twice.
  std::vector<Result<>> results;
  if (!items.empty()) results = co_await export_more(std::move(items), target);
  // A connection that cannot move was accepted here, and waits here for an application.
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (results[i]) continue;
    if (emptied) emptied = results[i];
    keep_here(exports, listener, std::move(kept[i]));
  }
  if (emptied) emptied = co_await notify_of_accepted(exports, listener, importer.host, decide_by);
  co_return emptied;
}

}  // namespace sockmi::daemon
