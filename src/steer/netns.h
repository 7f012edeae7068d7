// The network namespaces of this host, and in which of them an earlier daemon has left rules.
//
// The kernel lists no namespaces. A daemon that starts looks where they can be got hold of: at what is mounted (`ip netns`, Docker, Podman, CNI pin
// theirs so), and at processes, as far as it may look at them. What it finds there is not all its own: another host may be a container of this one,
// with a daemon of its own that is only not running now. So tables in a container's namespace say by the name of an empty chain from which namespace
// they are served, which is where that daemon lives, and where the next one will. (The kernel gives the numbers that tell namespaces apart more than
// once: rules that were found by a number of another's are explained by no journal, and go as all that are not.)
//
// Rejected: the journal as the only witness (without it nothing of ours would be found again, and `sockmictl flush` reads no configuration, and so no
// journal); pinning the namespaces ourselves (a service has a mount namespace of its own, which ends with it).
#pragma once

#include <sys/types.h>

#include <functional>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::steer {

struct NetworkNamespace {
  unique_fd handle;
  ino_t inode = 0;  // tells it from all others that are there at the same time
};

Result<NetworkNamespace> own_namespace();  // this thread's
Result<ino_t> inode_of(int handle);
// Calls `function` in that namespace; sockets that it opens stay there. EPERM: it wants CAP_SYS_ADMIN.
Result<> call_in(int handle, const std::function<Result<>()>& function);

// EACCES: the namespace is that of a user who could make it without privilege, and who has every power in it. It is served if it belongs to our own user
// namespace, or to one that root has made, as for a container.
Result<> check_owner(int handle);

// All others that we can get hold of.
std::vector<NetworkNamespace> other_namespaces();

struct Served {
  std::vector<NetworkNamespace> namespaces;  // with our tables, which say that they are served from `daemon`; those of users are not looked at
  std::size_t closed = 0;                    // so many could not be looked into
};
Served served_from(ino_t daemon);

}  // namespace sockmi::steer
