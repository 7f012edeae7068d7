// Owning pointers for OpenSSL's keys, certificates and revocation lists; reads and writes
// them as PEM files.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/error.h"
#include "base/openssl_ptr.h"
#include "base/secret.h"

namespace sockmi::cluster {

using Key = OpenSslPointer<EVP_PKEY, EVP_PKEY_free>;
using Certificate = OpenSslPointer<X509, X509_free>;
using RevocationList = OpenSslPointer<X509_CRL, X509_CRL_free>;
using Store = OpenSslPointer<X509_STORE, X509_STORE_free>;

// Read one object from a PEM file. Errors: ENOENT if there is no such file; EINVAL if it
// is not a PEM file of this kind; EACCES if others can read or replace a key.
Result<Key> read_key(const std::filesystem::path& path);
Result<Certificate> read_certificate(const std::filesystem::path& path);
// Read all objects of the file, at least one, in their order. Errors: E2BIG if there are
// more than two.
Result<std::vector<Certificate>> read_certificates(const std::filesystem::path& path);
Result<std::vector<RevocationList>> read_revocations(const std::filesystem::path& path);

// Keep: EEXIST if the file exists or is a symbolic link. Replace: at no moment is there
// an incomplete file under this name.
enum class Existing { Keep, Replace };
Result<> write_file(const std::filesystem::path& path, ByteView bytes, mode_t mode,
                    Existing existing);
Result<> write_key(const std::filesystem::path& path, EVP_PKEY* key, Existing existing);
Result<> write_certificate(const std::filesystem::path& path, X509* certificate, Existing existing);
// Write several objects. An existing file is replaced.
Result<> write_certificates(const std::filesystem::path& path,
                            const std::vector<Certificate>& certificates);
Result<> write_revocations(const std::filesystem::path& path,
                           const std::vector<RevocationList>& lists);

}  // namespace sockmi::cluster
