// Reads sockmid.toml, a host's configuration by its administrator. See sockmid.toml(5).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "applications/import_queue.h"
#include "cluster/discovery.h"
#include "context/policy.h"
#include "context/settings.h"

namespace sockmi::sockmid {

struct Config {
  std::string socket = "/run/sockmid/sockmid.sock";
  std::filesystem::path identity = "/etc/sockmi/host";
  std::filesystem::path state = "/var/lib/sockmi";  // the journal's folder
  daemon::Settings settings;  // without the host's name, which is in its certificate
  daemon::Policy policy;
  daemon::QueueLimits maxima;
  cluster::DiscoveryConfig discovery{.group = *SocketAddress::parse("239.255.77.77:7077")};
};

// Reads the file and adds what this host's interfaces show: its address of the other
// family. Errors: EINVAL, with the file, the line and the key; those of open(2) and
// read(2).
Result<Config> read_config(const std::string& path);

// Reads the text of a file. `path` is its name in errors.
Result<Config> parse_config(std::string_view text, const std::string& path);

}  // namespace sockmi::sockmid
