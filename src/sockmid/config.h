// Reads sockmid.toml, a host's configuration by its administrator. See sockmid.toml(5).
#pragma once

#include "daemon/daemon.h"

namespace sockmi::sockmid {

struct Config {
  std::string socket = "/run/sockmid/sockmid.sock";
  std::filesystem::path identity = "/etc/sockmi/host";
  // Without the host's name, which is in its certificate.
  daemon::Daemon::Config daemon;
};

// Errors: EINVAL, with what is wrong and where.
Result<Config> read_config(const std::string& path);

}  // namespace sockmi::sockmid
