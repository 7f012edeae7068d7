// The listening sockets that systemd has opened for the proxy (sd_listen_fds(3)), by
// name.
//
// They remain open until the proxy ends, also while no listener uses them, because they
// cannot be had again.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::proxy {

class Activation {
 public:
  // Takes them from the environment. Before there are threads, and once.
  static Activation take();

  // Returns the sockets of this name, as descriptors of the caller. Errors: ENOENT if
  // there is none; EINVAL if one is not a listening stream socket.
  Result<std::vector<unique_fd>> sockets(const std::string& name) const;

 private:
  std::vector<std::pair<std::string, unique_fd>> sockets_;
};

}  // namespace sockmi::proxy
