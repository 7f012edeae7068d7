// The cluster's authority: makes a cluster and its hosts' identities, renews and revokes them. Used by sockmictl, where ca.key is.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::cluster {

// A cluster folder: ca.crt, ca.key, cluster.key, issued/HOST-SERIAL.crt, crl.pem once something was revoked, and ca.key.former while one authority
// succeeds another (ca.crt and crl.pem are both's then). A host folder: ca.crt, host.crt,
// host.key, cluster.key, crl.pem. Keys are mode 0600. Host certificates: CN = host name, SAN DNS:name and IP:addresses, EKU client and server.
// cluster.key: a line of 64 hexadecimal digits for each key, newest first, at most two; all of them are in force.
struct HostOptions {
  std::vector<IpAddress> addresses;  // empty: any
  long days = 730;
};

Result<> init_cluster(const std::filesystem::path& folder);  // EEXIST: never overwrites
Result<> issue_host(const std::filesystem::path& cluster, const std::string& host, const std::filesystem::path& out, const HostOptions& options = {});
// A new key and certificate in the host's folder, for its name and addresses as they are, or for other addresses; and the cluster's files as they are now.
Result<> renew_host(const std::filesystem::path& cluster, const std::filesystem::path& host_folder, const HostOptions& options = {});
// All certificates that were issued for the host so far get into crl.pem; it has to be copied to every host. How many there are. ENOENT: none was issued.
// `host`: or a file with the certificate, which a version that kept no record may have issued.
Result<std::size_t> revoke_host(const std::filesystem::path& cluster, const std::string& host);
// A new cluster key beside the former one; cluster.key has to be copied to every host. The one before that ends.
Result<> rekey_cluster(const std::filesystem::path& cluster);

// A new authority beside the former one: hosts that have the new ca.crt believe certificates of both. EEXIST: there are two already.
Result<> rotate_authority(const std::filesystem::path& cluster);
// The former authority's certificates do not count any more. ENOENT: there is one authority.
Result<> retire_authority(const std::filesystem::path& cluster);

Result<> check_host_name(const std::string& host);

}  // namespace sockmi::cluster
