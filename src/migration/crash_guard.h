// Unfreezes sockets if the daemon is killed in the middle of a freeze. Such a socket
// would stay output-blocked, in the hands of an application that does not know of it.
// Only a process with a descriptor of the socket and CAP_NET_ADMIN can remove the mark
// that blocks its output.
//
// Design: the daemon has a child that outlives it. The child holds a duplicate of each
// descriptor while its socket is frozen. When the daemon ends without releasing a socket,
// the child unfreezes it. There is one exception: if the journal says that the endpoint
// was decided, or if the journal cannot be read, only the importer knows where the
// endpoint lives. The socket then stays output-blocked for the next daemon, which asks
// (see orphaned_sockets.h). Then the child ends as well.
//
// A child that dies before the daemon is replaced, and the new one gets everything that
// is held. A child that does not read its notes is killed and replaced in the same way.
// The child runs this program from scratch (posix_spawn), because a process with threads
// cannot continue as a mere fork of itself.
//
// Alternatives considered:
//
// - The next daemon unfreezes the sockets. It may never be started, and it would have to
//   take descriptors out of other processes: CAP_SYS_PTRACE, power over every process of
//   the host.
// - systemd's descriptor store. It costs a notification and a round trip to PID 1 in each
//   freeze, and it does not work without systemd.
// - A BPF program at the socket's cgroup instead of the mark. It ends with the daemon,
//   but applications are in arbitrary cgroups.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include "base/unique_fd.h"
#include "tcp/capture.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

namespace asio = boost::asio;

class CrashGuard : public std::enable_shared_from_this<CrashGuard> {
 public:
  // Starts the child. `state_folder`: the journal's folder.
  static Result<std::shared_ptr<CrashGuard>> start(const std::filesystem::path& state_folder);
  // Replaces the child when it dies, while the daemon runs.
  static asio::awaitable<void> keep(std::shared_ptr<CrashGuard> guard, asio::io_context& io);
  // The child's main function: this program, called with kArgument and the folder.
  static constexpr const char* kArgument = "--guard";
  [[noreturn]] static void watch(const std::filesystem::path& state_folder, tcp::Marks marks);
  ~CrashGuard();  // The child has ended when this returns.
  CrashGuard(const CrashGuard&) = delete;

  // Guards one socket while it lives. Take it before the freeze, and release it after the
  // freeze has ended. `asker`: the application's local API connection (-1: none). The
  // guard keeps a duplicate of it, so that the application does not see EOF, and use the
  // socket again, before the child has unfrozen it.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept : guard_(std::exchange(other.guard_, nullptr)), id_(other.id_) {}
    Lease& operator=(Lease&& other) noexcept {
      std::swap(guard_, other.guard_);
      std::swap(id_, other.id_);
      return *this;
    }
    ~Lease() {
      if (guard_) guard_->release(id_);
    }

   private:
    friend CrashGuard;
    // Shared, because a daemon that stops ends with migrations in progress.
    std::shared_ptr<CrashGuard> guard_;
    wire::MigrationId id_{};
  };
  Lease hold(const wire::MigrationId& id, int fd, const tcp::OriginalOptions& owner, int asker);

 private:
  explicit CrashGuard(std::filesystem::path state_folder)
      : state_folder_(std::move(state_folder)) {}
  struct Note {
    wire::MigrationId id;
    tcp::OriginalOptions owner;
  };
  struct Holding {
    int fd;  // borrowed
    tcp::OriginalOptions owner;
  };
  Result<> launch();
  void reap();
  void release(const wire::MigrationId& id);
  // No descriptors: the socket is released.
  void say(const Note& note, std::span<const int> descriptors);
  static bool listen(int socket, Note& note, std::vector<unique_fd>& descriptors);

  const std::filesystem::path state_folder_;
  unique_fd socket_;
  pid_t child_ = -1;
  std::map<wire::MigrationId, Holding> held_;
};

}  // namespace sockmi::daemon
