// sockmid.toml: what a host's administrator decides. See sockmid.toml(5).
#pragma once

#include "daemon/daemon.h"

namespace sockmi::sockmid {

struct Config {
  std::string socket = "/run/sockmid/sockmid.sock";
  std::filesystem::path identity = "/etc/sockmi/host";
  daemon::Daemon::Config broker;  // without the host's name, which comes from its certificate
};

// EINVAL: what is wrong, and where.
Result<Config> read_config(const std::string& path);

}  // namespace sockmi::sockmid
