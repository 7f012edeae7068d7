#include "drain/local_connections.h"

#include <set>

#include "base/address_scope.h"
#include "base/fault.h"
#include "migration/frozen_sockets.h"
#include "net/addresses.h"
#include "tcp/states.h"

namespace sockmi::daemon {
namespace {

// The addresses at which this host reaches itself.
Result<std::set<IpAddress>> addresses_of_this_host() {
  TRY_LET(all, net::host_addresses());
  std::set<IpAddress> out;
  for (const net::HostAddress& each : all)
    out.insert(each.ip);
  return out;
}

// True for a connection of the control channel, which this daemon or another one has
// opened.
bool is_of_control_channel(const FourTuple& tuple, const Services& services,
                           const std::set<SocketAddress>& others) {
  return tuple.local == services.settings.control_address() || others.contains(tuple.remote);
}

bool has_begun(const net::TcpSocket& socket) {
  return socket.inode != 0 && !socket.tuple.remote.ip.any() && socket.state != tcp::kClose &&
         socket.state != tcp::kSynSent;
}

}  // namespace

Result<std::vector<LocalConnection>> local_connections(const Connections& connections,
                                                       const ImportQueue& import_queue) {
  const Services& services = connections.services;
  TRY(fault::point("drain-list"));
  TRY_LET(sockets, sockets_everywhere(services));
  TRY_LET(own, addresses_of_this_host());
  std::set<SocketAddress> others;
  for (const cluster::HostInfo& host : services.discovery->hosts())
    others.insert(host.control_address);
  std::set<std::uint64_t> ready;
  for (const ReadyEndpoint& each : import_queue.ready())
    ready.insert(each.cookie);
  std::vector<LocalConnection> out;
  for (const auto& [cookie, socket] : sockets) {
    const FourTuple tuple = socket.tuple.unmapped();
    if (!has_begun(socket) || ready.contains(cookie) || is_loopback(tuple.remote.ip) ||
        own.contains(tuple.remote.ip) || is_of_control_channel(tuple, services, others))
      continue;
    const ImportedConnection* imported = connections.table.find_imported(cookie);
    out.push_back({cookie, tuple, socket.uid, socket.inode, imported ? imported->service : "",
                   imported != nullptr});
  }
  return out;
}

}  // namespace sockmi::daemon
