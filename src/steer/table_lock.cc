// A lock on a file in a folder that only root may write to, not a name that any user could bind first (abstract Unix names have no owner). The file's
// name is the namespace's inode. It is locked by flock(2), so the lock ends with its holder. It holds the holder's process number, and is never
// removed: one who waited for the lock of a removed file and one who made the file anew would both hold a lock.
#include "steer/table_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "steer/netns.h"

namespace sockmi::steer {
namespace {

constexpr const char* kFolder = "/run/sockmid";  // the runtime folder of the service, which may write nowhere else below /run

// Whoever may write to the folder could replace the file, and with it the lock.
Result<unique_fd> open_folder() {
  if (::mkdir(kFolder, 0755) != 0 && errno != EEXIST) return fail_errno(kFolder);
  unique_fd folder(::open(kFolder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return fail_errno(kFolder);
  struct stat status {};
  if (::fstat(folder.get(), &status) != 0) return fail_errno(kFolder);
  if (status.st_uid != ::geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH))) return fail(EPERM, "{}: others may write to it", kFolder);
  return folder;
}

std::string holder(int file) {
  char text[32] = {};
  const ssize_t got = ::pread(file, text, sizeof text - 1, 0);
  const long pid = got > 0 ? std::strtol(text, nullptr, 10) : 0;
  return pid > 0 ? fmt::format("process {}", pid) : std::string("its process is not known");
}

}  // namespace

Result<unique_fd> claim_namespace() {
  TRY_LET(own, own_namespace());
  TRY_LET(folder, open_folder());
  const std::string name = fmt::format("netns-{}.lock", own.inode);
  unique_fd file(::openat(folder.get(), name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return fail_errno(fmt::format("{}/{}", kFolder, name));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail_errno(fmt::format("{}/{}", kFolder, name));
    return fail(EADDRINUSE, "another sockmid serves this network namespace ({})", holder(file.get()));
  }
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(file.get(), 0) != 0 || ::pwrite(file.get(), pid.data(), pid.size(), 0) < 0) return fail_errno(fmt::format("{}/{}", kFolder, name));
  return file;
}

}  // namespace sockmi::steer
