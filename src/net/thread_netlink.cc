#include "net/thread_netlink.h"

#include <sys/stat.h>

#include <map>

namespace sockmi::net {

Result<Netlink*> thread_netlink(int bus) {
  struct stat here {};
  if (::stat("/proc/thread-self/ns/net", &here) != 0)
    return fail_errno("cannot open the daemon's network namespace");
  thread_local std::map<std::pair<ino_t, int>, std::unique_ptr<Netlink>> sockets;
  auto& socket = sockets[{here.st_ino, bus}];
  if (!socket) {
    TRY_LET(opened, Netlink::open(bus));
    socket = std::move(opened);
  }
  return socket.get();
}

}  // namespace sockmi::net
