// Who we are in the cluster, and how a cluster comes to be.
#pragma once

#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::peer {

// A cluster folder: ca.crt, ca.key, cluster.key (32 random bytes, hex: authenticates datagrams). A host folder: ca.crt, host.crt,
// host.key, cluster.key. Keys are mode 0600, see key_file.h. Host certificates: CN = host name, SAN DNS:name, EKU client and server.
Result<> init_cluster(const std::filesystem::path& folder);                       // EEXIST: never overwrites
Result<> issue_host(const std::filesystem::path& cluster, const std::string& host, const std::filesystem::path& out);

struct Identity {
  std::string host;  // the CN of host.crt
  std::filesystem::path folder;
  Secret cluster_key;
  static Result<Identity> load(const std::filesystem::path& folder);
};

}  // namespace sockmi::peer
