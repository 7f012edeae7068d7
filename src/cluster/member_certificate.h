// Reads who a host's certificate names, and for how long.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include <openssl/x509.h>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::cluster {

// The host that a certificate names.
struct Member {
  std::string host;                  // CN, and one of the SANs
  std::vector<IpAddress> addresses;  // SAN IP; empty: any address
  std::chrono::system_clock::time_point not_before, not_after;
  // Whether the certificate is valid for `address`.
  bool has(const IpAddress& address) const;
};
// Reads the contents of a certificate. Does not check its issuer. Errors: EBADMSG if
// it is not a host's certificate.
Result<Member> member_of(X509* certificate);

// Errors: EINVAL if a certificate cannot name such a host.
Result<> check_host_name(const std::string& host);

std::chrono::system_clock::time_point time_of(const ASN1_TIME* time);

}  // namespace sockmi::cluster
