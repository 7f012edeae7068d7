// The contents of a host's folder that are in force at a time: its key and certificate,
// the authorities' certificates and revocation lists, and the cluster keys. They
// distinguish members of the cluster from other senders. A Credentials object never
// changes: a folder that is read again becomes another object.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/secret.h"
#include "cluster/member_certificate.h"
#include "cluster/pem.h"

namespace sockmi::cluster {

inline constexpr std::size_t kClusterKeySize = 32;  // bytes

class Credentials {
 public:
  static Result<std::shared_ptr<const Credentials>> load(const std::filesystem::path& folder);

  const Member& own() const { return own_; }
  X509* certificate() const { return certificate_.get(); }
  const Bytes& certificate_der() const { return der_; }
  EVP_PKEY* key() const { return key_.get(); }
  X509_STORE* store() const { return store_.get(); }  // for TLS
  // One or two keys, the newest first.
  const std::vector<Secret>& cluster_keys() const { return cluster_keys_; }

  // Checks a certificate and returns the host that it names. Errors: EACCES if the
  // cluster has not issued it, or has revoked it, or if it is out of date; the reason is
  // in the error's text.
  Result<Member> check(X509* certificate) const;
  // Returns "", or a warning for the administrator if this host's certificate, or the
  // authority's, is invalid or expires within 30 days.
  std::string warning() const;

 private:
  Result<> read_revoked(const std::filesystem::path& path);
  const X509* authority() const;

  Member own_;
  Certificate certificate_;
  // A second one is the successor or predecessor of the first.
  std::vector<Certificate> authorities_;
  Bytes der_;
  Key key_;
  Store store_;
  std::vector<Secret> cluster_keys_;
};

}  // namespace sockmi::cluster
