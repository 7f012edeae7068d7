#include "cluster/key_file.h"

#include <sys/stat.h>
#include <unistd.h>

namespace sockmi::cluster {
namespace {

constexpr mode_t kOthersMayChange = S_IWGRP | S_IWOTH;

bool is_trusted(uid_t owner) {
  return owner == 0 || owner == ::geteuid();
}

}  // namespace

Result<> check_key_file(const std::filesystem::path& path) {
  struct stat file {
  }, folder{};
  const std::filesystem::path parent = path.has_parent_path() ? path.parent_path() : ".";
  if (::stat(path.c_str(), &file) != 0) return fail_errno("cannot find " + path.string());
  if (::stat(parent.c_str(), &folder) != 0) return fail_errno("cannot find " + parent.string());
  const char* advice = "its owner must be root or the daemon's user, its mode 0600";
  if (!S_ISREG(file.st_mode))
    return fail(EACCES, "invalid key file {}: not a regular file", path.string());
  if (!is_trusted(file.st_uid))
    return fail(EACCES, "{} belongs to user {}: {}", path.string(), file.st_uid, advice);
  if (file.st_mode & kOthersMayChange) {
    return fail(EACCES, "{} can be changed by others (mode {:04o}): {}", path.string(),
                file.st_mode & 07777, advice);
  }
  if (file.st_mode & 077) {
    return fail(EACCES, "{} can be read by others (mode {:04o}): {}", path.string(),
                file.st_mode & 07777, advice);
  }
  if (!is_trusted(folder.st_uid)) {
    return fail(EACCES, "{}, where {} is, belongs to user {}, who can replace it", parent.string(),
                path.filename().string(), folder.st_uid);
  }
  if (folder.st_mode & kOthersMayChange) {
    return fail(EACCES,
                "{}, where {} is, can be changed by others (mode {:04o}), who can replace it",
                parent.string(), path.filename().string(), folder.st_mode & 07777);
  }
  return {};
}

Result<> write_all(int file, const std::filesystem::path& path, ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_errno("cannot write " + path.string());
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace sockmi::cluster
