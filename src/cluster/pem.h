// Keys, certificates and revocation lists of OpenSSL's, with owners, and as PEM files.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::cluster {

template <class T, void (*Free)(T*)>
struct OpenSslDeleter {
  void operator()(T* p) const { Free(p); }
};
using Key = std::unique_ptr<EVP_PKEY, OpenSslDeleter<EVP_PKEY, EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, OpenSslDeleter<X509, X509_free>>;
using RevocationList = std::unique_ptr<X509_CRL, OpenSslDeleter<X509_CRL, X509_CRL_free>>;
using Store = std::unique_ptr<X509_STORE, OpenSslDeleter<X509_STORE, X509_STORE_free>>;

// ENOENT: there is no such file; EINVAL: it is no PEM of this kind; EACCES: others can read a key.
Result<Key> read_key(const std::filesystem::path& path);
Result<Certificate> read_certificate(const std::filesystem::path& path);
// All that are in the file, one at least, in their order. E2BIG: more than two.
Result<std::vector<Certificate>> read_certificates(const std::filesystem::path& path);
Result<std::vector<RevocationList>> read_revocations(const std::filesystem::path& path);

enum class Existing { Keep, Replace };  // Keep: EEXIST if there is one, or a link. Replace: at no moment is there half a file.
Result<> write_file(const std::filesystem::path& path, ByteView bytes, mode_t mode, Existing existing);
Result<> write_key(const std::filesystem::path& path, EVP_PKEY* key, Existing existing);
Result<> write_certificate(const std::filesystem::path& path, X509* certificate, Existing existing);
Result<> write_certificates(const std::filesystem::path& path, const std::vector<Certificate>& certificates);  // replaces
Result<> write_revocations(const std::filesystem::path& path, const std::vector<RevocationList>& lists);        // likewise

}  // namespace sockmi::cluster
