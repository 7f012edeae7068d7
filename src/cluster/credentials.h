// What of a host's folder is in force at a time: its key and certificate, and by what it tells members of the cluster from strangers. Never changes:
// a folder that was read anew is another one.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/secret.h"
#include "cluster/pem.h"

namespace sockmi::cluster {

inline constexpr std::size_t kClusterKeySize = 32;  // bytes

// Whom a certificate speaks of.
struct Member {
  std::string host;                  // CN, and among the SANs
  std::vector<IpAddress> addresses;  // SAN IP; empty: any
  std::chrono::system_clock::time_point not_before, not_after;
  bool has(const IpAddress& address) const;  // or may have it
};
// As it says; nobody has checked who issued it. EBADMSG: it is no host's.
Result<Member> member_of(X509* certificate);

class Credentials {
 public:
  static Result<std::shared_ptr<const Credentials>> load(const std::filesystem::path& folder);

  const Member& own() const { return own_; }
  X509* certificate() const { return certificate_.get(); }
  const Bytes& certificate_der() const { return der_; }
  EVP_PKEY* key() const { return key_.get(); }
  X509_STORE* store() const { return store_.get(); }  // for TLS
  const std::vector<Secret>& cluster_keys() const { return cluster_keys_; }  // one or two, newest first

  // Whose certificate it is. EACCES: the cluster has not issued it, has revoked it, or it is out of date; says which.
  Result<Member> check(X509* certificate) const;
  // "" or what an administrator should know about the dates of our own, or the authority's, certificate.
  std::string warning() const;

 private:
  Result<> read_revoked(const std::filesystem::path& path);
  const X509* authority() const;

  Member own_;
  Certificate certificate_;
  std::vector<Certificate> authorities_;  // the second one is its predecessor, or its successor
  Bytes der_;
  Key key_;
  Store store_;
  std::vector<Secret> cluster_keys_;
};

}  // namespace sockmi::cluster
