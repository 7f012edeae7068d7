#include "cluster/credentials.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include <fmt/chrono.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "base/unique_fd.h"
#include "cluster/key_file.h"

namespace sockmi::cluster {
namespace {

namespace fs = std::filesystem;
using std::chrono::system_clock;
constexpr std::size_t kMaxClusterKeys = 2;
constexpr int kMaxSignatureSize = 255;  // bytes: its size is one byte (datagram.h)
constexpr auto kExpiryWarning = std::chrono::days(30);

std::string day_of(system_clock::time_point time) {
  return fmt::format("{:%Y-%m-%d}", fmt::gmtime(system_clock::to_time_t(time)));
}

Result<std::vector<Secret>> read_cluster_keys(const fs::path& path) {
  TRY(check_key_file(path));
  unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno("cannot open " + path.string());
  Secret text(kMaxClusterKeys * (2 * kClusterKeySize + 1));
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  std::vector<Secret> keys;
  for (ByteView rest(text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
       rest.size() >= 2 * kClusterKeySize;) {
    Secret& key = keys.emplace_back();
    for (std::size_t i = 0; i < 2 * kClusterKeySize; i += 2) {
      const int high = OPENSSL_hexchar2int(rest[i]), low = OPENSSL_hexchar2int(rest[i + 1]);
      if (high < 0 || low < 0)
        return fail(EINVAL, "invalid key in {}: not hexadecimal", path.string());
      key.push_back(static_cast<std::uint8_t>(high << 4 | low));
    }
    rest = rest.subspan(2 * kClusterKeySize);
    if (!rest.empty() && rest[0] != '\n') {
      return fail(EINVAL, "invalid key in {}: expected {} digits", path.string(),
                  2 * kClusterKeySize);
    }
    if (!rest.empty()) rest = rest.subspan(1);
  }
  if (keys.empty()) return fail(EINVAL, "invalid key in {}: too short", path.string());
  return keys;
}

}  // namespace

Result<std::shared_ptr<const Credentials>> Credentials::load(const fs::path& folder) {
  const auto out = std::make_shared<Credentials>();
  TRY_LET(certificate, read_certificate(folder / "host.crt"));
  TRY_LET(member, member_of(certificate.get()));
  TRY_LET(key, read_key(folder / "host.key"));
  if (X509_check_private_key(certificate.get(), key.get()) != 1)
    return fail_openssl(EINVAL, "invalid key " + (folder / "host.key").string());
  if (EVP_PKEY_get_size(key.get()) > kMaxSignatureSize) {
    return fail(EINVAL,
                "invalid key {}: its signatures are too long for a datagram; use a key of an "
                "elliptic curve",
                (folder / "host.key").string());
  }
  TRY_LET(authorities, read_certificates(folder / "ca.crt"));
  TRY_LET(cluster_keys, read_cluster_keys(folder / "cluster.key"));
  out->own_ = std::move(member);
  out->key_ = std::move(key);
  out->cluster_keys_ = std::move(cluster_keys);
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate.get(), &der);
  if (size <= 0)
    return fail_openssl(EINVAL, "invalid certificate " + (folder / "host.crt").string());
  out->der_.assign(der, der + size);
  OPENSSL_free(der);
  out->store_.reset(X509_STORE_new());
  if (!out->store_) return fail_openssl(ENOMEM, "cannot make a store of certificates");
  for (const Certificate& each : authorities) {
    if (X509_STORE_add_cert(out->store_.get(), each.get()) != 1)
      return fail_openssl(EINVAL, "invalid certificate " + (folder / "ca.crt").string());
  }
  out->certificate_ = std::move(certificate);
  out->authorities_ = std::move(authorities);
  TRY(out->read_revoked(folder / "crl.pem"));
  return out;
}

// Reads the revocation lists, if there are any. An authority without a list has revoked
// nothing: while one authority succeeds another, it is possible that only one of them has
// a list.
Result<> Credentials::read_revoked(const fs::path& path) {
  std::error_code error;
  const bool some = fs::exists(path, error);
  if (error) return fail(error.value(), "cannot find {}: {}", path.string(), error.message());
  if (!some) return {};
  TRY_LET(lists, read_revocations(path));
  for (const RevocationList& list : lists) {
    const bool known = std::ranges::any_of(authorities_, [&](const Certificate& each) {
      return X509_CRL_verify(list.get(), X509_get0_pubkey(each.get())) == 1;
    });
    if (!known) {
      return fail_openssl(
          EINVAL, "invalid revocation list " + path.string() + ": not of this cluster's authority");
    }
    ERR_clear_error();
    if (X509_STORE_add_crl(store_.get(), list.get()) != 1)
      return fail_openssl(EINVAL, "cannot use " + path.string());
  }
  X509_STORE_set_verify_cb(store_.get(), [](int good, X509_STORE_CTX* context) {
    if (good == 1 || X509_STORE_CTX_get_error(context) != X509_V_ERR_UNABLE_TO_GET_CRL) return good;
    X509_STORE_CTX_set_error(context, X509_V_OK);
    return 1;
  });
  if (X509_STORE_set_flags(store_.get(), X509_V_FLAG_CRL_CHECK) != 1)
    return fail_openssl(EINVAL, "cannot use " + path.string());
  return {};
}

// Returns the authority that issued our own certificate.
const X509* Credentials::authority() const {
  const auto it = std::ranges::find_if(authorities_, [this](const Certificate& each) {
    return X509_check_issued(each.get(), certificate_.get()) == X509_V_OK;
  });
  return it == authorities_.end() ? authorities_.front().get() : it->get();
}

Result<Member> Credentials::check(X509* certificate) const {
  TRY_LET(member, member_of(certificate));
  const OpenSslPointer<X509_STORE_CTX, X509_STORE_CTX_free> context(X509_STORE_CTX_new());
  if (!context || X509_STORE_CTX_init(context.get(), store_.get(), certificate, nullptr) != 1)
    return fail_openssl(ENOMEM, "cannot check a certificate");
  const int good = X509_verify_cert(context.get());
  ERR_clear_error();
  if (good == 1) return member;
  const int error = X509_STORE_CTX_get_error(context.get());
  const std::string words = X509_verify_cert_error_string(error);
  if (error == X509_V_ERR_CERT_HAS_EXPIRED) {
    return fail(EACCES, "invalid certificate of {}: {} (on {})", member.host, words,
                day_of(member.not_after));
  }
  if (error == X509_V_ERR_CERT_NOT_YET_VALID) {
    return fail(EACCES, "invalid certificate of {}: {} (before {}; is a clock wrong?)", member.host,
                words, day_of(member.not_before));
  }
  return fail(EACCES, "invalid certificate of {}: {}", member.host, words);
}

std::string Credentials::warning() const {
  const auto now = system_clock::now();
  const auto authority_ends = time_of(X509_get0_notAfter(authority()));
  if (const auto valid = check(certificate_.get()); !valid)
    return valid.error().reason + ": no host of the cluster talks to this one";
  for (const auto& [whose, ends] : {std::pair("this host's certificate", own_.not_after),
                                    std::pair("the cluster's authority", authority_ends)}) {
    if (ends < now + kExpiryWarning) {
      return fmt::format("{} expires on {}, in {} days", whose, day_of(ends),
                         std::chrono::duration_cast<std::chrono::days>(ends - now).count());
    }
  }
  return "";
}

}  // namespace sockmi::cluster
