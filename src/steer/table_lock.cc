// Locks a file whose name is the inode of the network namespace.
//
// The file is in a directory that only root may write to. An abstract Unix socket name
// would not do, because any user could bind it first: such names have no owner. The file
// is locked by flock(2), so the lock ends when its holder exits. It contains the holder's
// process number. It is never removed: a process that had waited for the lock of a
// removed file, and a process that created the file again, would both hold a lock.
#include "steer/table_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "steer/netns.h"

namespace sockmi::steer {
namespace {

// The runtime directory of the service, which may not write anywhere else below /run.
constexpr const char* kFolder = "/run/sockmid";

// A user who may write to the directory could replace the file, and thereby the lock. So
// the directory must belong to us and be writable only for its owner.
Result<unique_fd> open_folder() {
  if (::mkdir(kFolder, 0755) != 0 && errno != EEXIST) return fail_errno(kFolder);
  unique_fd folder(::open(kFolder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) return fail_errno(kFolder);
  struct stat status {};
  if (::fstat(folder.get(), &status) != 0) return fail_errno(kFolder);
  if (status.st_uid != ::geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)))
    return fail(EPERM, "invalid folder {}: other users may write to it", kFolder);
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
  unique_fd file(
      ::openat(folder.get(), name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return fail_errno(fmt::format("cannot lock {}/{}", kFolder, name));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return fail_errno(fmt::format("cannot lock {}/{}", kFolder, name));
    return fail(EADDRINUSE, "another sockmid serves this network namespace ({})",
                holder(file.get()));
  }
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(file.get(), 0) != 0 || ::pwrite(file.get(), pid.data(), pid.size(), 0) < 0)
    return fail_errno(fmt::format("cannot lock {}/{}", kFolder, name));
  return file;
}

}  // namespace sockmi::steer
