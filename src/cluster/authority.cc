#include "cluster/authority.h"

#include <unistd.h>

#include <array>
#include <fstream>

#include <fmt/ranges.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "cluster/credentials.h"
#include "cluster/key_file.h"
#include "cluster/pem.h"

namespace sockmi::cluster {
namespace {

namespace fs = std::filesystem;
constexpr long kHour = 3600, kDay = 24 * kHour, kCaDays = 3650;

bool extend(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  const bool added = extension && X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
  return added;
}

std::string alternative_names(const std::string& host, const std::vector<IpAddress>& addresses) {
  std::string out = "DNS:" + host;
  for (const IpAddress& address : addresses)
    out += ",IP:" + to_string(address);
  return out;
}

// Makes a certificate for the key `subject`. It is signed by `issuer` with `issuer_key`,
// or is self-signed (an authority's) if `issuer` is null. `names`: a host's alternative
// names.
Result<Certificate> make_certificate(const std::string& name, const std::string& names,
                                     EVP_PKEY* subject, X509* issuer, EVP_PKEY* issuer_key,
                                     long days) {
  Certificate certificate(X509_new());
  X509* c = certificate.get();
  unsigned char serial[16];
  bool ok = c && RAND_bytes(serial, sizeof serial) == 1;
  serial[0] &= 0x7f;
  const OpenSslPointer<BIGNUM, BN_free> number(BN_bin2bn(serial, sizeof serial, nullptr));
  ok =
      ok && number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(c)) &&
      X509_set_version(c, X509_VERSION_3) && X509_gmtime_adj(X509_getm_notBefore(c), -kHour) &&
      X509_gmtime_adj(X509_getm_notAfter(c), days * kDay) && X509_set_pubkey(c, subject) &&
      X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0) &&
      X509_set_issuer_name(c, X509_get_subject_name(issuer ? issuer : c));
  X509* by = issuer ? issuer : c;
  ok = ok &&
       extend(c, by, NID_basic_constraints,
              issuer ? "critical,CA:FALSE" : "critical,CA:TRUE,pathlen:0") &&
       extend(c, by, NID_key_usage,
              issuer ? "critical,digitalSignature" : "critical,keyCertSign,cRLSign") &&
       extend(c, by, NID_subject_key_identifier, "hash");
  if (issuer) {
    ok = ok && extend(c, by, NID_ext_key_usage, "serverAuth,clientAuth") &&
         extend(c, by, NID_subject_alt_name, names);
  }
  ok = ok && X509_sign(c, issuer_key, EVP_sha256());
  if (!ok) return fail_openssl(EIO, "cannot make a certificate for " + name);
  return certificate;
}

struct Authority {
  Certificate certificate;
  Key key;
  // Reads the key from `key_file`, and finds its certificate in ca.crt, which has two
  // certificates while one authority succeeds another.
  static Result<Authority> read(const fs::path& cluster, const char* key_file = "ca.key") {
    TRY_LET(certificates, read_certificates(cluster / "ca.crt"));
    TRY_LET(key, read_key(cluster / key_file));
    for (Certificate& each : certificates) {
      if (X509_check_private_key(each.get(), key.get()) == 1)
        return Authority{std::move(each), std::move(key)};
    }
    return fail_openssl(EINVAL,
                        fmt::format("invalid key {}: not that of {}", (cluster / key_file).string(),
                                    (cluster / "ca.crt").string()));
  }
};

constexpr const char* kFormerKey = "ca.key.former";

// Makes an authority with a random name of its own. By this name it is known which of two
// authorities has issued a host's certificate.
Result<Authority> make_authority() {
  std::array<unsigned char, 4> random{};
  Key key(EVP_EC_gen("P-256"));
  if (!key || RAND_bytes(random.data(), random.size()) != 1)
    return fail_openssl(EIO, "cannot make a key");
  TRY_LET(certificate, make_certificate(fmt::format("sockmi cluster {:02x}", fmt::join(random, "")),
                                        "", key.get(), nullptr, key.get(), kCaDays));
  return Authority{std::move(certificate), std::move(key)};
}

Result<> make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error) fs::permissions(folder, fs::perms::owner_all, error);
  if (error) return fail(error.value(), "cannot create {}: {}", folder.string(), error.message());
  return {};
}

// Copies a file. The copy gets `mode`, not the mode of the original.
Result<> copy(const fs::path& from, const fs::path& to, mode_t mode, Existing existing) {
  std::ifstream file(from, std::ios::binary);
  Secret bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) return fail(EIO, "cannot read {}", from.string());
  return write_file(to, bytes, mode, existing);
}

std::string serial_of(X509* certificate) {
  const OpenSslPointer<BIGNUM, BN_free> number(
      ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
  char* hex = BN_bn2hex(number.get());
  std::string out = hex ? hex : "";
  OPENSSL_free(hex);
  return out;
}

Result<> write_host(const fs::path& cluster, const std::string& host, const fs::path& out,
                    const HostOptions& options, Existing existing) {
  TRY(check_host_name(host));
  TRY_LET(ca, Authority::read(cluster));
  const Key key(EVP_EC_gen("P-256"));
  if (!key) return fail_openssl(EIO, "cannot make a key");
  TRY_LET(certificate, make_certificate(host, alternative_names(host, options.addresses), key.get(),
                                        ca.certificate.get(), ca.key.get(), options.days));
  // The record is written first: a certificate that is not recorded could not be revoked.
  TRY(make_folder(cluster / "issued"));
  TRY(write_certificate(cluster / "issued" / (host + "-" + serial_of(certificate.get()) + ".crt"),
                        certificate.get(), Existing::Keep));
  TRY(write_key(out / "host.key", key.get(), existing));
  TRY(write_certificate(out / "host.crt", certificate.get(), existing));
  TRY(check_key_file(cluster / "cluster.key"));
  for (const auto& [name, mode] :
       {std::pair("ca.crt", 0644), std::pair("cluster.key", 0600), std::pair("crl.pem", 0644)}) {
    if (fs::exists(cluster / name))
      TRY(copy(cluster / name, out / name, static_cast<mode_t>(mode), existing));
  }
  return {};
}

Result<Secret> new_cluster_key() {
  Secret random(kClusterKeySize), line;
  if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1)
    return fail_openssl(EIO, "cannot get random bytes");
  for (const auto byte : random) {
    for (const int nibble : {byte >> 4, byte & 15})
      line.push_back("0123456789abcdef"[nibble]);
  }
  line.push_back('\n');
  return line;
}

// Returns the certificates to revoke. `host` is a host name, or the path of a file with a
// certificate.
Result<std::vector<Certificate>> certificates_of(const fs::path& cluster, const std::string& host) {
  std::vector<Certificate> out;
  std::error_code error;
  if (fs::is_regular_file(host, error)) {
    TRY_LET(certificate, read_certificate(host));
    out.push_back(std::move(certificate));
    return out;
  }
  TRY(check_host_name(host));
  for (const auto& entry : fs::directory_iterator(cluster / "issued", error)) {
    auto certificate = read_certificate(entry.path());
    const auto member = certificate ? member_of(certificate->get())
                                    : Result<Member>(std::unexpected(certificate.error()));
    if (member && member->host == host) out.push_back(std::move(*certificate));
  }
  return out;
}

Result<> revoke(X509_CRL* list, X509* certificate) {
  const OpenSslPointer<X509_REVOKED, X509_REVOKED_free> entry(X509_REVOKED_new());
  const OpenSslPointer<ASN1_TIME, ASN1_TIME_free> now(X509_gmtime_adj(nullptr, 0));
  if (!entry || !now ||
      X509_REVOKED_set_serialNumber(
          entry.get(), const_cast<ASN1_INTEGER*>(X509_get0_serialNumber(certificate))) != 1 ||
      X509_REVOKED_set_revocationDate(entry.get(), now.get()) != 1)
    return fail_openssl(EIO, "cannot revoke a certificate");
  X509_REVOKED* known = nullptr;
  if (X509_CRL_get0_by_cert(list, &known, certificate) == 1) return {};
  X509_REVOKED* added = X509_REVOKED_dup(entry.get());
  if (X509_CRL_add0_revoked(list, added) == 1) return {};
  X509_REVOKED_free(added);
  return fail_openssl(EIO, "cannot revoke a certificate");
}

Result<std::vector<RevocationList>> known_lists(const fs::path& cluster) {
  if (!fs::exists(cluster / "crl.pem")) return std::vector<RevocationList>();
  return read_revocations(cluster / "crl.pem");
}

// Returns the list of the authority `ca` among `lists`. Adds an empty one if there is
// none.
Result<X509_CRL*> list_of(const Authority& ca, std::vector<RevocationList>& lists) {
  const X509_NAME* name = X509_get_subject_name(ca.certificate.get());
  for (const RevocationList& each : lists)
    if (X509_NAME_cmp(X509_CRL_get_issuer(each.get()), name) == 0) return each.get();
  RevocationList& list = lists.emplace_back(X509_CRL_new());
  if (!list || X509_CRL_set_version(list.get(), X509_CRL_VERSION_2) != 1 ||
      X509_CRL_set_issuer_name(list.get(), name) != 1)
    return fail_openssl(EIO, "cannot make a revocation list");
  return list.get();
}

// Signs the list. It stays valid until the authority's own certificate expires: hosts
// reject every certificate if the list is out of date.
Result<> sign(X509_CRL* list, const Authority& ca) {
  const OpenSslPointer<ASN1_TIME, ASN1_TIME_free> now(X509_gmtime_adj(nullptr, -kHour));
  if (!now || X509_CRL_set1_lastUpdate(list, now.get()) != 1 ||
      X509_CRL_set1_nextUpdate(list, X509_get0_notAfter(ca.certificate.get())) != 1 ||
      X509_CRL_sort(list) != 1 || X509_CRL_sign(list, ca.key.get(), EVP_sha256()) <= 0)
    return fail_openssl(EIO, "cannot make a revocation list");
  return {};
}

}  // namespace

Result<> init_cluster(const fs::path& folder) {
  if (fs::exists(folder / "ca.key"))
    return fail(EEXIST, "cannot create a cluster: {} has one already", folder.string());
  TRY(make_folder(folder));
  TRY_LET(ca, make_authority());
  TRY(write_key(folder / "ca.key", ca.key.get(), Existing::Keep));
  TRY(write_certificate(folder / "ca.crt", ca.certificate.get(), Existing::Keep));
  TRY_LET(line, new_cluster_key());
  return write_file(folder / "cluster.key", line, 0600, Existing::Keep);
}

Result<> issue_host(const fs::path& cluster, const std::string& host, const fs::path& out,
                    const HostOptions& options) {
  if (fs::exists(out / "host.key"))
    return fail(EEXIST, "cannot issue an identity: {} has one already", out.string());
  TRY(make_folder(out));
  return write_host(cluster, host, out, options, Existing::Keep);
}

Result<> renew_host(const fs::path& cluster, const fs::path& host_folder,
                    const HostOptions& options) {
  TRY_LET(certificate, read_certificate(host_folder / "host.crt"));
  TRY_LET(member, member_of(certificate.get()));
  HostOptions wanted = options;
  if (wanted.addresses.empty()) wanted.addresses = member.addresses;
  return write_host(cluster, member.host, host_folder, wanted, Existing::Replace);
}

Result<std::size_t> revoke_host(const fs::path& cluster, const std::string& host) {
  TRY_LET(certificates, certificates_of(cluster, host));
  if (certificates.empty()) {
    return fail(ENOENT, "no certificate of {} is recorded in {}", host,
                (cluster / "issued").string());
  }
  TRY_LET(lists, known_lists(cluster));
  std::size_t count = 0;
  for (const char* key_file : {"ca.key", kFormerKey}) {
    if (!fs::exists(cluster / key_file)) continue;
    TRY_LET(ca, Authority::read(cluster, key_file));
    TRY_LET(list, list_of(ca, lists));
    for (const Certificate& certificate : certificates) {
      if (X509_verify(certificate.get(), ca.key.get()) != 1) continue;
      TRY(revoke(list, certificate.get()));
      ++count;
    }
    TRY(sign(list, ca));
  }
  ERR_clear_error();
  if (count == 0) return fail(EINVAL, "a certificate of another cluster");
  TRY(write_revocations(cluster / "crl.pem", lists));
  return count;
}

// If this is interrupted, the former authority is in force, or both are;
// retire_authority() completes it then.
Result<> rotate_authority(const fs::path& cluster) {
  if (fs::exists(cluster / kFormerKey)) {
    return fail(EEXIST, "cannot add an authority: {} has two, retire the former one first",
                cluster.string());
  }
  TRY_LET(former, Authority::read(cluster));
  TRY_LET(ca, make_authority());
  TRY(write_key(cluster / kFormerKey, former.key.get(), Existing::Keep));
  std::vector<Certificate> both;
  both.push_back(std::move(ca.certificate));
  both.push_back(std::move(former.certificate));
  TRY(write_certificates(cluster / "ca.crt", both));
  return write_key(cluster / "ca.key", ca.key.get(), Existing::Replace);
}

Result<> retire_authority(const fs::path& cluster) {
  if (!fs::exists(cluster / kFormerKey))
    return fail(ENOENT, "cannot retire an authority: {} has only one", cluster.string());
  TRY_LET(ca, Authority::read(cluster));
  // A host that has a list of the former authority must get another list in its place. A
  // host does not accept a list of an authority that it does not know, so only the list
  // of the new authority is kept.
  TRY_LET(lists, known_lists(cluster));
  if (!lists.empty()) {
    TRY_LET(list, list_of(ca, lists));
    TRY(sign(list, ca));
    std::erase_if(lists, [list](const RevocationList& each) { return each.get() != list; });
    TRY(write_revocations(cluster / "crl.pem", lists));
  }
  TRY(write_certificate(cluster / "ca.crt", ca.certificate.get(), Existing::Replace));
  std::error_code error;
  fs::remove(cluster / kFormerKey, error);
  if (error) {
    return fail(error.value(), "cannot remove {}: {}", (cluster / kFormerKey).string(),
                error.message());
  }
  return {};
}

Result<> rekey_cluster(const fs::path& cluster) {
  std::ifstream file(cluster / "cluster.key");
  std::string former;
  if (!std::getline(file, former))
    return fail(ENOENT, "cannot replace the cluster key: {} has none", cluster.string());
  TRY_LET(line, new_cluster_key());
  line.insert(line.end(), former.begin(), former.end());
  line.push_back('\n');
  return write_file(cluster / "cluster.key", line, 0600, Existing::Replace);
}

}  // namespace sockmi::cluster
