#include "peer/identity.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <memory>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/unique_fd.h"
#include "peer/key_file.h"

namespace sockmi::peer {
namespace {

namespace fs = std::filesystem;
template <class T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* p) const { Free(p); }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY, EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509, X509_free>>;
struct BioDeleter {
  void operator()(BIO* bio) const { BIO_free_all(bio); }
};
using Bio = std::unique_ptr<BIO, BioDeleter>;

constexpr long kDay = 24 * 60 * 60;
constexpr std::size_t kClusterKeySize = 32;

// Never overwrites: a lost CA key can not be had back. Certificates are for everybody.
Result<> write_new(const fs::path& path, ByteView bytes, bool secret) {
  TRY(write_key_file(path, bytes));
  if (!secret && ::chmod(path.c_str(), 0644) != 0) return fail_errno(path.string());
  return {};
}

template <class Write>
Result<> write_pem(const fs::path& path, bool secret, Write write) {
  Bio memory(BIO_new(BIO_s_secmem()));
  if (!memory || !write(memory.get())) return fail_openssl(EIO, path.string());
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return write_new(path, {reinterpret_cast<const std::uint8_t*>(data), static_cast<std::size_t>(size)}, secret);
}

Result<> write_key(const fs::path& path, EVP_PKEY* key) {
  return write_pem(path, true, [&](BIO* out) { return PEM_write_bio_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr); });
}
Result<> write_certificate(const fs::path& path, X509* certificate) {
  return write_pem(path, false, [&](BIO* out) { return PEM_write_bio_X509(out, certificate); });
}

bool extend(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  const bool added = extension && X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
  return added;
}

// A certificate for `subject`'s key, signed by `issuer`'s, or by itself if there is none.
Result<Certificate> make_certificate(const std::string& name, EVP_PKEY* subject, X509* issuer, EVP_PKEY* issuer_key, long days) {
  Certificate certificate(X509_new());
  X509* c = certificate.get();
  unsigned char serial[16];
  bool ok = c && RAND_bytes(serial, sizeof serial) == 1;
  serial[0] &= 0x7f;
  const std::unique_ptr<BIGNUM, Deleter<BIGNUM, BN_free>> number(BN_bin2bn(serial, sizeof serial, nullptr));
  ok = ok && number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(c)) && X509_set_version(c, X509_VERSION_3) &&
       X509_gmtime_adj(X509_getm_notBefore(c), -60 * 60) && X509_gmtime_adj(X509_getm_notAfter(c), days * kDay) && X509_set_pubkey(c, subject) &&
       X509_NAME_add_entry_by_txt(X509_get_subject_name(c), "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0) &&
       X509_set_issuer_name(c, X509_get_subject_name(issuer ? issuer : c));
  X509* by = issuer ? issuer : c;
  ok = ok && extend(c, by, NID_basic_constraints, issuer ? "critical,CA:FALSE" : "critical,CA:TRUE,pathlen:0") &&
       extend(c, by, NID_key_usage, issuer ? "critical,digitalSignature" : "critical,keyCertSign,cRLSign") &&
       extend(c, by, NID_subject_key_identifier, "hash");
  if (issuer) ok = ok && extend(c, by, NID_ext_key_usage, "serverAuth,clientAuth") && extend(c, by, NID_subject_alt_name, "DNS:" + name);
  ok = ok && X509_sign(c, issuer_key, EVP_sha256());
  if (!ok) return fail_openssl(EIO, "certificate for " + name);
  return certificate;
}

Result<> check_name(const std::string& host) {
  static constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
  if (host.empty() || host.size() > 63 || host.find_first_not_of(kAllowed) != host.npos || host.front() == '-' || host.front() == '.')
    return fail(EINVAL, "'{}' is no host name", host);
  return {};
}

template <class T, class Read>
Result<T> read_pem(const fs::path& path, Read read) {
  Bio file(BIO_new_file(path.c_str(), "r"));
  T value(file ? read(file.get()) : nullptr);
  if (!value) return fail_openssl(ENOENT, path.string());
  return value;
}
Result<Certificate> read_certificate(const fs::path& path) {
  return read_pem<Certificate>(path, [](BIO* in) { return PEM_read_bio_X509(in, nullptr, nullptr, nullptr); });
}

// As it is written: in hexadecimal, and a line's end.
Result<Secret> read_cluster_key(const fs::path& path) {
  TRY(check_key_file(path));
  unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno(path.string());
  Secret hex(2 * kClusterKeySize + 1);
  if (::read(file.get(), hex.data(), hex.size()) < static_cast<ssize_t>(2 * kClusterKeySize)) return fail(EINVAL, "{} is too short", path.string());
  hex.back() = '\n';
  return hex;
}

Result<> make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error) fs::permissions(folder, fs::perms::owner_all, error);
  if (error) return fail(error.value(), "{}: {}", folder.string(), error.message());
  return {};
}

}  // namespace

Result<> init_cluster(const fs::path& folder) {
  if (fs::exists(folder / "ca.key")) return fail(EEXIST, "{} holds a cluster already", folder.string());
  TRY(make_folder(folder));
  const Key key(EVP_EC_gen("P-256"));
  if (!key) return fail_openssl(EIO, "making a key");
  TRY_LET(ca, make_certificate("sockmi cluster", key.get(), nullptr, key.get(), 3650));
  TRY(write_key(folder / "ca.key", key.get()));
  TRY(write_certificate(folder / "ca.crt", ca.get()));
  Secret random(kClusterKeySize), hex;
  if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1) return fail_openssl(EIO, "random bytes");
  for (const auto byte : random)
    for (const int nibble : {byte >> 4, byte & 15}) hex.push_back("0123456789abcdef"[nibble]);
  hex.push_back('\n');
  return write_key_file(folder / "cluster.key", hex);
}

Result<> issue_host(const fs::path& cluster, const std::string& host, const fs::path& out) {
  TRY(check_name(host));
  TRY(check_key_file(cluster / "ca.key"));
  TRY_LET(ca, read_certificate(cluster / "ca.crt"));
  TRY_LET(ca_key, read_pem<Key>(cluster / "ca.key", [](BIO* in) { return PEM_read_bio_PrivateKey(in, nullptr, nullptr, nullptr); }));
  if (fs::exists(out / "host.key")) return fail(EEXIST, "{} holds a host's identity already", out.string());
  TRY(make_folder(out));
  const Key key(EVP_EC_gen("P-256"));
  if (!key) return fail_openssl(EIO, "making a key");
  TRY_LET(certificate, make_certificate(host, key.get(), ca.get(), ca_key.get(), 730));
  TRY(write_key(out / "host.key", key.get()));
  TRY(write_certificate(out / "host.crt", certificate.get()));
  std::error_code error;
  fs::copy_file(cluster / "ca.crt", out / "ca.crt", error);
  if (error) return fail(error.value(), "{}: {}", (out / "ca.crt").string(), error.message());
  TRY_LET(cluster_key, read_cluster_key(cluster / "cluster.key"));
  return write_key_file(out / "cluster.key", cluster_key);
}

Result<Identity> Identity::load(const fs::path& folder) {
  Identity identity{.host = {}, .folder = folder, .cluster_key = {}};
  TRY_LET(certificate, read_certificate(folder / "host.crt"));
  char name[256] = {};
  if (X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name, sizeof name) <= 0)
    return fail(EINVAL, "{} has no name in it", (folder / "host.crt").string());
  identity.host = name;
  TRY(check_name(identity.host));
  TRY(check_key_file(folder / "host.key"));
  const fs::path path = folder / "cluster.key";
  TRY_LET(hex, read_cluster_key(path));
  for (std::size_t i = 0; i < 2 * kClusterKeySize; i += 2) {
    const int high = OPENSSL_hexchar2int(hex[i]), low = OPENSSL_hexchar2int(hex[i + 1]);
    if (high < 0 || low < 0) return fail(EINVAL, "{} is not hexadecimal", path.string());
    identity.cluster_key.push_back(static_cast<std::uint8_t>(high << 4 | low));
  }
  return identity;
}

}  // namespace sockmi::peer
