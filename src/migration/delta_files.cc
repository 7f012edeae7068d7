#include "migration/delta_files.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/log.h"
#include "cluster/control_connection.h"
#include "wire/flatbuffer.h"

namespace sockmi::daemon {
namespace {

namespace files = std::filesystem;

constexpr std::string_view kPrefix = "late-";

files::path path_of(const files::path& folder, const wire::MigrationId& id) {
  return folder / fmt::format("{}{}", kPrefix, wire::to_hex(id));
}

}  // namespace

Result<> check_runtime_folder(const files::path& folder) {
  struct statfs facts {};
  if (::statfs(folder.empty() ? "." : folder.c_str(), &facts) != 0) return fail_errno(folder);
  if (facts.f_type == TMPFS_MAGIC || facts.f_type == RAMFS_MAGIC) return {};
  return fail(ENOTSUP,
              "{} is not in memory (tmpfs), and the folder of 'socket' must be: bytes of "
              "connections would reach a disk",
              folder.string());
}

bool is_in_commit_alone(const wire::FreezeDeltaT& delta) {
  return !delta.written.empty() || delta.read > 0 || delta.finished;
}

Result<> keep_delta(const files::path& folder, const wire::MigrationId& id,
                    const wire::FreezeDeltaT& delta) {
  const files::path path = path_of(folder, id);
  const Secret message = wire::pack_late_write(id, delta);
  const unique_fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return fail_errno("cannot create " + path.string());
  for (ByteView rest = message; !rest.empty();) {
    const ssize_t written = ::write(file.get(), rest.data(), rest.size());
    if (written > 0) {
      rest = rest.subspan(static_cast<std::size_t>(written));
      continue;
    }
    if (errno == EINTR) continue;
    auto error = fail_errno("cannot write " + path.string());
    drop_delta(folder, id);
    return error;
  }
  return {};
}

Result<wire::FreezeDeltaT> kept_delta(const files::path& folder, const wire::MigrationId& id) {
  const files::path path = path_of(folder, id);
  const unique_fd file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat facts {};
  if (!file || ::fstat(file.get(), &facts) != 0) return fail_errno("cannot open " + path.string());
  if (!S_ISREG(facts.st_mode) || facts.st_uid != ::geteuid())
    return fail(EPERM, "unexpected owner or type of {}", path.string());
  if (facts.st_size > static_cast<off_t>(cluster::kLargestMessage))
    return fail(EFBIG, "{} is too large: {} bytes", path.string(), facts.st_size);
  Secret text(static_cast<std::size_t>(facts.st_size));
  for (std::size_t have = 0; have < text.size();) {
    const ssize_t got = ::read(file.get(), text.data() + have, text.size() - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("cannot read " + path.string());
    if (got == 0) return fail(EIO, "{} is incomplete", path.string());
    have += static_cast<std::size_t>(got);
  }
  TRY_LET(message, wire::read<wire::Message>(text));
  const auto* write = message->request_as_LateWrite();
  if (!write || !write->delta()) return fail(EBADMSG, "invalid freeze delta in {}", path.string());
  wire::FreezeDeltaT delta;
  write->delta()->UnPackTo(&delta);
  return delta;
}

void drop_delta(const files::path& folder, const wire::MigrationId& id) {
  const files::path path = path_of(folder, id);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    log::error("freeze_delta_remove_failed",
               {{"error", fail_errno("cannot remove " + path.string()).error()}});
  }
}

void drop_unexplained_deltas(const files::path& folder, const Journal& journal) {
  if (journal.may_lack_facts()) return;
  std::error_code error;
  std::vector<files::path> unexplained;
  for (files::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (!name.starts_with(kPrefix)) continue;
    const bool decided = std::ranges::any_of(journal.decisions(), [&](const auto& each) {
      return name.substr(kPrefix.size()) == wire::to_hex(each.first);
    });
    if (!decided) unexplained.push_back(entry->path());
  }
  for (const auto& path : unexplained)
    files::remove(path, error);
}

}  // namespace sockmi::daemon
