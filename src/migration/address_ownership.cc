#include "migration/address_ownership.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

#include "net/addresses.h"
#include "net/port_users.h"
#include "steer/netns.h"

namespace sockmi::daemon {
namespace {

// A wildcard overlaps with every address, of both families: clients of a port that is
// bound at `::` may also reach an IPv4 socket with the same port.
bool overlap(const IpAddress& a, const IpAddress& b) {
  return a.wildcard() || b.wildcard() || a == b;
}

Result<> is_local(steer::KernelQueries& kernel, const IpAddress& local) {
  if (local.wildcard()) return {};
  TRY_LET(all, kernel.addresses());
  const auto is_it = [&](const net::HostAddress& each) {
    return each.ip == local || (each.loopback && each.ip.family == local.family &&
                                local.in_prefix(each.ip, each.prefix));
  };
  if (std::ranges::any_of(*all, is_it)) return {};
  return fail(EADDRNOTAVAIL, "address {} is not in the socket's network namespace",
              to_string(local));
}

Result<> serves_alone(const tcp::SocketInfo& facts, const User& owner) {
  const SocketAddress& local = facts.tuple.local;
  TRY_LET(users, net::users_of_port(local.port));
  for (const net::PortUser& each : users) {
    if (each.cookie != facts.cookie && each.uid != owner.uid &&
        overlap(each.local.ip.unmapped(), local.ip.unmapped()))
      return fail(EACCES, "another user has a socket at port {}", local.port);
  }
  return {};
}

bool was_accepted_by_an_imported_listener(const ConnectionTable& table,
                                          const SocketAddress& local) {
  return std::ranges::any_of(table.imported(), [&](const auto& each) {
    const SocketAddress& listener = each.second.tuple.local;
    return is_passive(each.second.tuple) && table.is_foreign(each.second) &&
           listener.port == local.port &&
           (listener.ip.wildcard() || listener.ip.unmapped() == local.ip.unmapped());
  });
}

Result<> check_family(int socket, const IpAddress& local) {
  if (local.family != AF_INET6 || !local.wildcard()) return {};
  int v6only = 0;
  socklen_t size = sizeof v6only;
  if (::getsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &size) != 0)
    return fail_errno("cannot read IPV6_V6ONLY");
  return v6only ? fail(ENOTSUP, "socket is an IPV6_V6ONLY wildcard") : Result<>();
}

}  // namespace

Result<> owns_address(const Services& services, const ConnectionTable& table, BatchQueries& queries,
                      int socket, const tcp::SocketInfo& facts, const wire::Endpoint& endpoint) {
  const User& owner = endpoint.owner;
  const SocketAddress& local = facts.tuple.local;
  // Another host is its home, has checked the address, and redirects its packets here.
  const ImportedConnection* imported = table.find_imported(facts.cookie);
  if (imported && table.is_foreign(*imported)) return {};
  const bool checks_port = is_passive(endpoint.state) && !owner.is_root();
  if (checks_port) {
    TRY(services.policy.may_listen(endpoint.service, owner, {local.ip.unmapped(), local.port}));
    TRY(check_family(socket, local.ip));
  }
  // The namespace is taken from the socket, because a wildcard does not identify it.
  const unique_fd handle(::ioctl(socket, SIOCGSKNS));
  if (!handle) return fail_errno("cannot find the socket's network namespace");
  TRY_LET(inode, steer::inode_of(handle.get()));
  if (!queries.own) {
    TRY_LET(own, steer::own_namespace());
    queries.own = own.inode;
  }
  const auto check = [&, &kernel = queries.in[inode]]() -> Result<> {
    TRY(is_local(kernel, local.ip.unmapped()));
    return checks_port ? serves_alone(facts, owner) : Result<>();
  };
  auto checked = inode == *queries.own ? check() : steer::call_in(handle.get(), check);
  return !checked && !is_passive(endpoint.state) &&
                 was_accepted_by_an_imported_listener(table, local)
             ? Result<>()
             : checked;
}

}  // namespace sockmi::daemon
