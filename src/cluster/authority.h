// Creates a cluster and its hosts' identities, renews them and revokes them. sockmictl
// uses this on the machine that has ca.key, the key of the cluster's certificate
// authority.
//
// Files. A cluster folder has ca.crt, ca.key, cluster.key, issued/HOST-SERIAL.crt (one
// file per issued certificate), crl.pem once a certificate has been revoked, and
// ca.key.former while one authority succeeds another. During a succession ca.crt has the
// certificates of both authorities, and crl.pem the lists of both. A host folder has
// ca.crt, host.crt, host.key, cluster.key and, if the cluster folder has one, crl.pem.
// Key files have mode 0600.
//
// A host certificate has CN = host name, SAN = DNS:name and IP:address for each address,
// EKU = client and server. cluster.key has one line of 64 hexadecimal digits per key, the
// newest first, at most two lines. All its keys are in force.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::cluster {

struct HostOptions {
  std::vector<IpAddress> addresses;  // empty: any address
  long days = 730;
};

// Creates a cluster in `folder`. Errors: EEXIST if the folder has a ca.key already; no
// file is ever overwritten.
Result<> init_cluster(const std::filesystem::path& folder);
Result<> issue_host(const std::filesystem::path& cluster, const std::string& host,
                    const std::filesystem::path& out, const HostOptions& options = {});
// Writes a new key and a new certificate into the host's folder, and copies the cluster's
// current files there. The host's name is kept. So are its addresses if `options` has
// none.
Result<> renew_host(const std::filesystem::path& cluster, const std::filesystem::path& host_folder,
                    const HostOptions& options = {});
// Adds to crl.pem all certificates that have been issued for `host`, and returns how many
// there are. `host` is a host name, or the path of a file with a certificate; a
// certificate that is not recorded in issued/ (early versions kept no record) can be
// revoked only by its file. The administrator must copy crl.pem to every host. Errors:
// ENOENT if no certificate of the host is recorded; EINVAL if the certificates are
// another cluster's.
Result<std::size_t> revoke_host(const std::filesystem::path& cluster, const std::string& host);
// Adds a new cluster key and keeps the former one. The one before that is removed. The
// administrator must copy cluster.key to every host. Errors: ENOENT if there is no
// cluster key.
Result<> rekey_cluster(const std::filesystem::path& cluster);

// Creates a new authority and keeps the former one. Hosts that have the new ca.crt accept
// certificates of both. Errors: EEXIST if there are two authorities already.
Result<> rotate_authority(const std::filesystem::path& cluster);
// Removes the former authority. Hosts that have the new ca.crt reject its certificates.
// Errors: ENOENT if there is only one authority.
Result<> retire_authority(const std::filesystem::path& cluster);

}  // namespace sockmi::cluster
