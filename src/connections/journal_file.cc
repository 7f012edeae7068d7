#include "connections/journal_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "base/fault.h"

namespace sockmi::daemon {
namespace {

constexpr int kMostKept = 9;
constexpr std::chrono::milliseconds kLockPatience{1000}, kLockPause{10};

std::filesystem::path aside(const std::filesystem::path& path) {
  return path.string() + ".new";
}

std::string damaged(const std::filesystem::path& path, int number) {
  return fmt::format("{}.damaged-{}", path.string(), number);
}

// Writes everything or fails; `wrote` is the number of bytes written in either case.
Result<> write_all(int file, const std::string& text, std::size_t& wrote) {
  for (wrote = 0; wrote < text.size();) {
    const ssize_t piece = ::write(file, text.data() + wrote, text.size() - wrote);
    if (piece < 0 && errno == EINTR) continue;
    if (piece < 0) return fail_errno("cannot write the journal");
    if (piece == 0) return fail(ENOSPC, "cannot write the journal: no byte was written");
    wrote += static_cast<std::size_t>(piece);
  }
  return {};
}

}  // namespace

// The folder itself is locked, because a lock file would have to be created, which a full
// disk might refuse.
Result<unique_fd> JournalFile::lock(const std::filesystem::path& folder) {
  unique_fd locked(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!locked) return fail_errno("cannot open " + folder.string());
  for (auto until = std::chrono::steady_clock::now() + kLockPatience;
       ::flock(locked.get(), LOCK_EX | LOCK_NB) != 0;) {
    if (errno != EWOULDBLOCK && errno != EINTR) return fail_errno("cannot lock " + folder.string());
    if (std::chrono::steady_clock::now() > until)
      return fail(EBUSY, "cannot use {}: another sockmid uses it", folder.string());
    std::this_thread::sleep_for(kLockPause);
  }
  return locked;
}

Result<std::string> JournalFile::read(const std::filesystem::path& path) {
  const unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file && errno == ENOENT) return std::string();
  if (!file) return fail_errno("cannot open " + path.string());
  std::string all;
  for (;;) {
    char piece[65536];
    if (auto may = fault::point("journal-read"); !may) return std::unexpected(may.error());
    const ssize_t got = ::read(file.get(), piece, sizeof piece);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("cannot read " + path.string());
    if (got == 0) return all;
    all.append(piece, static_cast<std::size_t>(got));
  }
}

Result<> JournalFile::open(bool torn) {
  file_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!file_) return fail_errno("cannot open " + path_.string());
  torn_ = torn;
  return {};
}

Result<> JournalFile::append(const std::string& lines) {
  if (!file_) TRY(open(torn_));
  TRY(fault::point("journal-write"));
  const off_t end = ::lseek(file_.get(), 0, SEEK_END);
  std::size_t wrote = 0;
  auto done = write_all(file_.get(), torn_ ? kNotWritten + ("\n" + lines) : lines, wrote);
  if (done) {
    torn_ = false;
  } else if (wrote > 0) {
    // Take back what was written of the text: the next line would be appended to it.
    torn_ = ::ftruncate(file_.get(), end) != 0 || torn_;
    reserved_until_ = 0;
  }
  return done;
}

Result<> JournalFile::reserve(std::size_t bytes) {
  if (!file_) TRY(open(torn_));
  const off_t end = ::lseek(file_.get(), 0, SEEK_END), wanted = end + static_cast<off_t>(bytes);
  if (reserved_until_ >= wanted) return {};
  const off_t until = wanted + static_cast<off_t>(bytes);
  if (::fallocate(file_.get(), FALLOC_FL_KEEP_SIZE, end, until - end) == 0) {
    reserved_until_ = until;
    return {};
  }
  if (errno != EOPNOTSUPP) return fail_errno("cannot reserve room for the journal");
  struct statvfs disk {};
  if (::fstatvfs(file_.get(), &disk) != 0) return fail_errno("cannot reserve room for the journal");
  if (disk.f_bavail * disk.f_frsize < bytes)
    return fail(ENOSPC, "cannot reserve room for the journal: No space left on device");
  return {};
}

Result<unique_fd> JournalFile::write_aside(const std::filesystem::path& path,
                                           const std::string& text) {
  const auto fresh = aside(path);
  ::unlink(fresh.c_str());  // left by a daemon that died while writing
  unique_fd file(
      ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_APPEND | O_CLOEXEC, 0600));
  if (!file) return fail_errno("cannot create " + fresh.string());
  std::size_t wrote = 0;
  auto done = fault::point("journal-compact");
  if (done) done = write_all(file.get(), text, wrote);
  if (done) return file;
  ::unlink(fresh.c_str());  // it would take up space that the journal needs
  return pass(std::move(done));
}

Result<> JournalFile::replace(unique_fd file, const std::string& rest) {
  const auto fresh = aside(path_);
  std::size_t wrote = 0;
  auto done = write_all(file.get(), rest, wrote);
  if (done && ::rename(fresh.c_str(), path_.c_str()) != 0)
    done = fail_errno("cannot replace " + path_.string());
  if (!done) {
    ::unlink(fresh.c_str());
    return done;
  }
  file_ = std::move(file);
  reserved_until_ = 0;
  torn_ = false;
  return {};
}

Result<std::filesystem::path> JournalFile::keep_aside() const {
  for (int number = 1; number <= kMostKept; ++number) {
    const std::string kept = damaged(path_, number);
    if (::link(path_.c_str(), kept.c_str()) == 0) return std::filesystem::path(kept);
    if (errno != EEXIST) return fail_errno(kept);
  }
  return fail(EEXIST, "cannot keep the damaged journal: {}.damaged-1 to -{} exist", path_.string(),
              kMostKept);
}

std::vector<std::filesystem::path> JournalFile::kept() const {
  std::vector<std::filesystem::path> out;
  for (int number = 1; number <= kMostKept; ++number) {
    const std::string name = damaged(path_, number);
    struct stat facts {};
    if (::lstat(name.c_str(), &facts) == 0 || errno != ENOENT) out.emplace_back(name);
  }
  return out;
}

}  // namespace sockmi::daemon
