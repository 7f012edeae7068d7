#include "migration/examination.h"

#include <set>

#include <openssl/rand.h>
#include <sockmi/sockmi.h>

#include "migration/address_ownership.h"
#include "migration/batch_queries.h"
#include "migration/path_check.h"
#include "tcp/socket_info.h"
#include "tcp/states.h"

namespace sockmi::daemon {

void examine(const Services& services, const ConnectionTable& table,
             std::vector<ExportedEndpoint>& all) {
  wire::MigrationId id{};
  RAND_bytes(id.data(), id.size());
  for (std::size_t i = 0; i < all.size(); ++i)
    all[i].id = cluster::member(id, i);
  std::set<std::uint64_t> sockets;
  BatchQueries queries;
  const auto check = [&](ExportedEndpoint& one) -> Result<> {
    auto facts = tcp::socket_info(one.socket.get());
    const ImportedConnection* imported = facts ? table.find_imported(facts->cookie) : nullptr;
    const bool ours = !imported || !table.is_foreign(*imported);
    if (facts) one.tuple = facts->tuple, one.cookie = facts->cookie;
    one.endpoint.home = ours ? services.settings.host : imported->home;
    one.endpoint.home_control = ours ? services.settings.control_address() : imported->home_control;
    one.endpoint.generation = next_generation(imported ? imported->generation : 0, ours);
    one.record = {.id = one.id,
                  .exported = true,
                  .service = one.endpoint.service,
                  .from = services.settings.host,
                  .owner = one.endpoint.owner,
                  .tuple = one.tuple,
                  .started = std::chrono::system_clock::now()};
    if (one.token && one.token->is_lost()) return given_up();
    if (!facts) return pass(std::move(facts));
    if (facts->connected())
      if (auto place = tcp::Place::of(one.socket.get())) one.began = *place;
    if (!sockets.insert(one.cookie).second) return fail(EBUSY, "socket is in this export twice");
    const std::uint8_t state = facts->state == tcp::kListen  ? SOCKMI_LISTENING
                               : facts->state == tcp::kClose ? SOCKMI_BOUND
                                                             : 0;
    if ((is_passive(one.endpoint.state) ? one.endpoint.state : 0) != state) {
      return fail(state == SOCKMI_BOUND ? ENOTCONN : EINVAL,
                  "socket is not in the state that it is exported as");
    }
    TRY(services.steering->track_namespace(one.socket.get(), one.tuple.local.ip));
    TRY(owns_address(services, table, queries, one.socket.get(), *facts, one.endpoint));
    TRY_LET(wire, may_leave(services, queries.at[one.tuple.local.ip.unmapped()], one.socket.get(),
                            *facts, ours));
    one.wire = wire;
    return {};
  };
  for (ExportedEndpoint& one : all)
    one.result = check(one);
}

}  // namespace sockmi::daemon
