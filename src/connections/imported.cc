#include "connections/imported.h"

namespace sockmi::daemon {

void add_imported(ConnectionTable& table, ForeignRules& rules, std::uint64_t cookie,
                  const ImportedConnection& imported) {
  // The connection has a record already if its home has queried it (see query_holder()).
  // Its rules are reference-counted, and it counts once.
  if (!table.add_imported(cookie, imported) && table.is_foreign(imported))
    rules.remove(imported.tuple, imported.home_control);
}

void rehome(ConnectionTable& table, ForeignRules& rules, std::uint64_t cookie) {
  const ImportedConnection* imported = table.find_imported(cookie);
  // Expires immediately (0 would mean never): new connections to the address are ours to
  // answer.
  rules.remove(imported->tuple, imported->home_control, milliseconds(1));
  table.rehome(cookie);
}

bool lives(const Services& services, const std::map<std::uint64_t, net::TcpSocket>& alive,
           std::uint64_t cookie, const FourTuple& tuple) {
  if (const auto it = alive.find(cookie); it != alive.end())
    return it->second.tuple.unmapped() == tuple.unmapped();
  const auto socket = services.find_socket(tuple);
  return socket ? socket->cookie == cookie : !is_absent(socket.error());
}

}  // namespace sockmi::daemon
