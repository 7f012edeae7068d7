// A daemon that is killed in the middle of a freeze would leave the socket mute, in the hands of an application that knows nothing of it. The mark
// that makes it mute can be taken away only by who has a descriptor of the socket, and CAP_NET_ADMIN.
//
// So the daemon has a child that outlives it: it holds a duplicate of each descriptor for as long as its socket is frozen. When the daemon ends
// without a word, it gives each socket back, unless the journal says that its endpoint was handed over, or can't be read: then only the importer knows
// where it lives, and the socket stays mute for the next daemon, which asks (see orphans.h). Then it ends too. One that dies before the daemon is
// replaced, and told again what is held; so is one that takes no more notes. The child is this program once more, for a process with threads can not
// go on as a mere fork of itself.
//
// Rejected: that the next daemon does it (it may not come, and would have to take descriptors out of other processes: CAP_SYS_PTRACE, power over every
// process of the host); systemd's descriptor store (a notification and a round trip to PID 1 in each freeze, and nothing without systemd); a
// BPF program at the socket's cgroup instead of the mark (it dies with the daemon, but applications live in any cgroup).
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
#include "wire/control_messages.h"
#include "tcp/capture.h"

namespace sockmi::daemon {

namespace asio = boost::asio;

class CrashGuard : public std::enable_shared_from_this<CrashGuard> {
 public:
  // `state_folder` is the journal's.
  static Result<std::shared_ptr<CrashGuard>> start(const std::filesystem::path& state_folder);
  // Replaces the child when it dies, for as long as the daemon runs.
  static asio::awaitable<void> keep(std::shared_ptr<CrashGuard> guard, asio::io_context& io);
  // What the child does: this program, called with kArgument and the folder.
  static constexpr const char* kArgument = "--guard";
  [[noreturn]] static void watch(const std::filesystem::path& state_folder, tcp::Marks marks);
  ~CrashGuard();  // the child has ended
  CrashGuard(const CrashGuard&) = delete;

  // The socket is guarded for as long as this lives. To be had before the freeze, and given up after its end. `asker` (-1: nobody): the local
  // connection of the application, which must not see its end, and go on with the socket, before the child has seen to it.
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
      if (guard_) guard_->let_go(id_);
    }

   private:
    friend CrashGuard;
    std::shared_ptr<CrashGuard> guard_;  // a daemon that stops ends with migrations under way
    wire::MigrationId id_{};
  };
  Lease hold(const wire::MigrationId& id, int fd, const tcp::OriginalOptions& owner, int asker);

 private:
  explicit CrashGuard(std::filesystem::path state_folder) : state_folder_(std::move(state_folder)) {}
  struct Note {
    wire::MigrationId id;
    tcp::OriginalOptions owner;
  };
  struct Holding {
    int fd;  // borrowed
    tcp::OriginalOptions owner;
  };
  Result<> launch();
  void bury();
  void let_go(const wire::MigrationId& id);
  void say(const Note& note, std::span<const int> descriptors);  // none: it is let go
  static bool listen(int line, Note& note, std::vector<unique_fd>& descriptors);

  const std::filesystem::path state_folder_;
  unique_fd line_;
  pid_t child_ = -1;
  std::map<wire::MigrationId, Holding> held_;
};

}  // namespace sockmi::daemon
