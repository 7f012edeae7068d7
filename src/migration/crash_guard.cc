#include "migration/crash_guard.h"

#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <map>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.h"
#include "base/scm_rights.h"
#include "connections/journal.h"
#include "context/async_event.h"

namespace sockmi::daemon {
namespace {

constexpr int kSocket = 3;                  // the child's descriptor of the socket to the daemon
constexpr std::size_t kMaxDescriptors = 2;  // of a note: the socket, and the asker's connection

union Control {
  cmsghdr header;
  char bytes[CMSG_SPACE(kMaxDescriptors * sizeof(int))];
};

struct Held {
  tcp::OriginalOptions owner;
  std::vector<unique_fd> descriptors;
};

void settle(const std::filesystem::path& state_folder, tcp::Marks marks,
            std::map<wire::MigrationId, Held>& all) {
  const auto journal = Journal::look(state_folder);
  if (!journal)
    return log::error("sockets_left_frozen", {{"count", all.size()}, {"error", journal.error()}});
  for (auto& [id, held] : all) {
    auto frozen = tcp::FrozenSocket::resume(held.descriptors.front().get(), held.owner, marks);
    if (!frozen) continue;  // The daemon had not frozen it yet, or had finished with it.
    // The importer has not confirmed that the endpoint lives there. The next daemon asks;
    // until then the socket stays output-blocked.
    const bool decided = journal->has(id);
    const auto done = decided ? Result<>() : frozen->unfreeze();
    if (decided) frozen->leave();
    log::warn("daemon_died_in_freeze", {{"migration", wire::to_hex(id)},
                                        {"committed", decided},
                                        {"error", done ? "" : to_string(done.error())}});
  }
}

}  // namespace

// Receives one note. Returns false if the daemon is gone. A note whose descriptors were
// lost on the way (because this process has too many) must not count as a release; its
// socket is simply not guarded.
bool CrashGuard::listen(int socket, Note& note, std::vector<unique_fd>& descriptors) {
  iovec part{&note, sizeof note};
  Control control;
  msghdr message{.msg_name = nullptr,
                 .msg_namelen = 0,
                 .msg_iov = &part,
                 .msg_iovlen = 1,
                 .msg_control = &control,
                 .msg_controllen = sizeof control,
                 .msg_flags = 0};
  ssize_t got;
  while ((got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  descriptors.clear();
  if (got > 0) take_descriptors(message, descriptors);
  if (got == sizeof note && (message.msg_flags & MSG_CTRUNC)) {
    log::error("guard_failed", {{"migration", wire::to_hex(note.id)},
                                {"error", "a descriptor was lost on its way to the crash guard"}});
    return listen(socket, note, descriptors);
  }
  return got == sizeof note;
}

void CrashGuard::watch(const std::filesystem::path& state_folder, tcp::Marks marks) {
  // Only the daemon's end ends this process.
  for (const int number : {SIGTERM, SIGINT, SIGHUP})
    ::signal(number, SIG_IGN);
  ::prctl(PR_SET_NAME, "sockmid-guard");
  std::map<wire::MigrationId, Held> held;
  Note note;
  for (std::vector<unique_fd> descriptors; listen(kSocket, note, descriptors);) {
    if (descriptors.empty()) {
      held.erase(note.id);
    } else {
      held[note.id] = {note.owner, std::exchange(descriptors, {})};
    }
  }
  if (!held.empty()) settle(state_folder, marks, held);
  ::_exit(0);
}

Result<std::shared_ptr<CrashGuard>> CrashGuard::start(const std::filesystem::path& state_folder) {
  std::shared_ptr<CrashGuard> guard(new CrashGuard(state_folder));
  TRY(guard->launch());
  return guard;
}

Result<> CrashGuard::launch() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return fail_errno("cannot create a socket pair");
  unique_fd ours(ends[0]), theirs(ends[1]);
  // A stopped guard must not block the daemon.
  const timeval patience{.tv_sec = 0, .tv_usec = 100'000};
  if (::setsockopt(ours.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0)
    return fail_errno("cannot create a socket pair");
  std::string name = "sockmid-guard", argument = kArgument, folder = state_folder_.string();
  char* const arguments[] = {name.data(), argument.data(), folder.data(), nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), kSocket);
  ::posix_spawn_file_actions_addclosefrom_np(&actions, kSocket + 1);
  const int error = ::posix_spawn(&child_, "/proc/self/exe", &actions, nullptr, arguments, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return fail(error, "cannot start the crash guard: {}", std::strerror(error));
  socket_ = std::move(ours);
  return {};
}

// Closes the connection to the child first, because that ends a child that is still
// alive.
void CrashGuard::reap() {
  socket_.reset();
  while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
  child_ = -1;
}

CrashGuard::~CrashGuard() {
  if (child_ > 0) reap();
}

asio::awaitable<void> CrashGuard::keep(std::shared_ptr<CrashGuard> guard, asio::io_context& io) {
  for (;;) {
    asio::posix::stream_descriptor end(
        io, static_cast<int>(::syscall(SYS_pidfd_open, guard->child_, 0)));
    boost::system::error_code error;
    co_await end.async_wait(asio::posix::stream_descriptor::wait_read,
                            asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    guard->reap();
    for (auto launched = guard->launch(); !launched; launched = guard->launch()) {
      log::error("guard_replace_failed", {{"error", launched.error()}});
      co_await sleep_for(std::chrono::milliseconds(1000));
    }
    for (const auto& [id, holding] : guard->held_)
      guard->say({id, holding.owner}, {&holding.fd, 1});
    log::warn("guard_replaced", {{"count", guard->held_.size()}});
  }
}

CrashGuard::Lease CrashGuard::hold(const wire::MigrationId& id, int fd,
                                   const tcp::OriginalOptions& owner, int asker) {
  const int descriptors[kMaxDescriptors] = {fd, asker};
  held_[id] = {fd, owner};
  say({id, owner}, std::span(descriptors).first(asker < 0 ? 1 : 2));
  Lease out;
  out.guard_ = shared_from_this();
  out.id_ = id;
  return out;
}

void CrashGuard::release(const wire::MigrationId& id) {
  held_.erase(id);
  say({id, {}}, {});
}

// Blocks for a moment while the child is behind; the child does nothing but receive. A
// child that does not receive within that time has been stopped, and would act on old
// notes later, so it is killed; keep() replaces it.
void CrashGuard::say(const Note& note, std::span<const int> descriptors) {
  Note copy = note;
  iovec part{&copy, sizeof copy};
  Control control{};
  msghdr message{.msg_name = nullptr,
                 .msg_namelen = 0,
                 .msg_iov = &part,
                 .msg_iovlen = 1,
                 .msg_control = nullptr,
                 .msg_controllen = 0,
                 .msg_flags = 0};
  attach_descriptors(message, control.bytes, descriptors);
  ssize_t sent;
  while ((sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL)) < 0 && errno == EINTR) {
  }
  if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    const int error = errno;
    ::kill(child_, SIGKILL);
    errno = error;
  }
  if (sent < 0) {
    log::error("guard_failed", {{"migration", wire::to_hex(note.id)},
                                {"error", fail_errno("cannot send to the crash guard").error()}});
  }
}

}  // namespace sockmi::daemon
