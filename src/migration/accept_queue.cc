#include "migration/accept_queue.h"

#include <openssl/rand.h>
#include <sockmi/sockmi.h>

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

}  // namespace

asio::awaitable<Result<>> move_accept_queue(Exports& exports, ExportedEndpoint& listener,
                                            IpAddress target, const ExportMore& export_more) {
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
  co_return emptied;
}

}  // namespace sockmi::daemon
