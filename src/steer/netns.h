// Finds the network namespaces of this host, and those in which an earlier daemon has
// left rules.
//
// The kernel has no list of namespaces. A daemon that starts searches the places where
// namespaces are accessible: mounts (`ip netns`, Docker, Podman and CNI pin namespaces by
// mounts), and processes, as far as it may read their /proc entries. Not every table
// found there belongs to this daemon: a container may be another member, with a daemon of
// its own that is only stopped at the moment. So a table in a container's namespace has
// an empty chain whose name says from which namespace it is served. That is the namespace
// in which the daemon lives, and in which its successor will live.
//
// The kernel reuses the numbers that identify namespaces. If rules are found because they
// carry a reused number, no journal entry explains them, and they are removed like all
// unexplained rules.
//
// Alternatives considered:
// - The journal as the only witness. Without the journal none of our rules would be found
//   again. `sockmictl flush` reads no configuration, and therefore no journal.
// - Pinning the namespaces ourselves. A service has a mount namespace of its own, and the
//   pins would end with it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::steer {

struct NetworkNamespace {
  unique_fd handle;
  // Distinguishes it from all other namespaces that exist at the same time.
  ino_t inode = 0;
};

Result<NetworkNamespace> own_namespace();  // of this thread
Result<ino_t> inode_of(int handle);
// Runs `function` in that namespace, on a new thread. Sockets that it opens stay in the
// namespace. Errors: EPERM without CAP_SYS_ADMIN.
Result<> call_in(int handle, const std::function<Result<>()>& function);

// Checks that a namespace may be served: it must belong to our own user namespace, or to
// one that root has created, as for a container. Errors: EACCES if a user could have
// created the namespace without privilege; that user has all capabilities in it.
Result<> check_owner(int handle);

// Returns all other namespaces that are accessible to us.
std::vector<NetworkNamespace> other_namespaces();

struct Served {
  // Those with our tables whose mark says that they are served from `daemon`. Namespaces
  // that check_owner() refuses are not examined.
  std::vector<NetworkNamespace> namespaces;
  std::size_t closed = 0;  // number of namespaces that could not be read
};
Served served_from(ino_t daemon);

}  // namespace sockmi::steer
