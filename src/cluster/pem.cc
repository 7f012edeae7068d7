#include "cluster/pem.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/unique_fd.h"
#include "cluster/key_file.h"

namespace sockmi::cluster {
namespace {

namespace fs = std::filesystem;
struct BioDeleter {
  void operator()(BIO* bio) const { BIO_free_all(bio); }
};
using Bio = std::unique_ptr<BIO, BioDeleter>;
constexpr std::size_t kMaxPerFile = 2;  // those of the authority and of its predecessor

Result<Bio> open_file(const fs::path& path) {
  Bio file(BIO_new_file(path.c_str(), "r"));
  if (file) return file;
  auto failed = fail_errno("cannot open " + path.string());  // before OpenSSL changes errno
  ERR_clear_error();
  return failed;
}

template <class T, class Read>
Result<T> read_pem(const fs::path& path, Read read) {
  TRY_LET(file, open_file(path));
  T value(read(file.get()));
  if (!value) return fail_openssl(EINVAL, "cannot read " + path.string());
  return value;
}

template <class T, class Read>
Result<std::vector<T>> read_all(const fs::path& path, Read read) {
  TRY_LET(file, open_file(path));
  std::vector<T> out;
  for (T value(read(file.get())); value; value.reset(read(file.get()))) {
    if (out.size() == kMaxPerFile)
      return fail(E2BIG, "cannot read {}: more than {} entries", path.string(), kMaxPerFile);
    out.push_back(std::move(value));
  }
  if (out.empty() || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
    return fail_openssl(EINVAL, "cannot read " + path.string());
  ERR_clear_error();
  return out;
}

template <class Write>
Result<> write_pem(const fs::path& path, mode_t mode, Existing existing, Write write) {
  Bio memory(BIO_new(BIO_s_secmem()));
  if (!memory || !write(memory.get())) return fail_openssl(EIO, "cannot write " + path.string());
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return write_file(path,
                    {reinterpret_cast<const std::uint8_t*>(data), static_cast<std::size_t>(size)},
                    mode, existing);
}

}  // namespace

Result<Key> read_key(const fs::path& path) {
  TRY(check_key_file(path));
  return read_pem<Key>(
      path, [](BIO* in) { return PEM_read_bio_PrivateKey(in, nullptr, nullptr, nullptr); });
}
Result<Certificate> read_certificate(const fs::path& path) {
  return read_pem<Certificate>(
      path, [](BIO* in) { return PEM_read_bio_X509(in, nullptr, nullptr, nullptr); });
}
Result<std::vector<Certificate>> read_certificates(const fs::path& path) {
  return read_all<Certificate>(
      path, [](BIO* in) { return PEM_read_bio_X509(in, nullptr, nullptr, nullptr); });
}
Result<std::vector<RevocationList>> read_revocations(const fs::path& path) {
  return read_all<RevocationList>(
      path, [](BIO* in) { return PEM_read_bio_X509_CRL(in, nullptr, nullptr, nullptr); });
}

Result<> write_file(const fs::path& path, ByteView bytes, mode_t mode, Existing existing) {
  const fs::path name = existing == Existing::Replace ? fs::path(path.string() + ".new") : path;
  if (existing == Existing::Replace) ::unlink(name.c_str());
  unique_fd file(::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail_errno("cannot create " + name.string());
  TRY(write_all(file.get(), name, bytes));
  if (::fchmod(file.get(), mode) != 0 || ::fsync(file.get()) != 0)
    return fail_errno("cannot write " + name.string());
  if (name != path && ::rename(name.c_str(), path.c_str()) != 0)
    return fail_errno("cannot replace " + path.string());
  return {};
}

Result<> write_key(const fs::path& path, EVP_PKEY* key, Existing existing) {
  return write_pem(path, 0600, existing, [&](BIO* out) {
    return PEM_write_bio_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}
Result<> write_certificate(const fs::path& path, X509* certificate, Existing existing) {
  return write_pem(path, 0644, existing,
                   [&](BIO* out) { return PEM_write_bio_X509(out, certificate); });
}
Result<> write_certificates(const fs::path& path, const std::vector<Certificate>& certificates) {
  return write_pem(path, 0644, Existing::Replace, [&](BIO* out) {
    return std::ranges::all_of(certificates, [out](const Certificate& each) {
      return PEM_write_bio_X509(out, each.get()) == 1;
    });
  });
}
Result<> write_revocations(const fs::path& path, const std::vector<RevocationList>& lists) {
  return write_pem(path, 0644, Existing::Replace, [&](BIO* out) {
    return std::ranges::all_of(lists, [out](const RevocationList& each) {
      return PEM_write_bio_X509_CRL(out, each.get()) == 1;
    });
  });
}

}  // namespace sockmi::cluster
