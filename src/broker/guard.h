// A daemon that is killed in the middle of a freeze would leave the socket mute, in the hands of an application that knows nothing of it. The mark
// that makes it mute can be taken away only by who has a descriptor of the socket, and CAP_NET_ADMIN.
//
// So the daemon has a child that outlives it: it holds a duplicate of each descriptor for as long as its socket is frozen. When the daemon ends
// without a word, it gives each socket back, or kills it if the journal says that its endpoint was handed over; then it ends too.
//
// Rejected: that the next daemon does it (it may not come, and would have to take descriptors out of other processes: CAP_SYS_PTRACE, power over every
// process of the host); systemd's descriptor store (a notification and a round trip to PID 1 in each freeze, and nothing without systemd); a
// BPF program at the socket's cgroup instead of the mark (it dies with the daemon, but applications live in any cgroup).
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/unique_fd.h"
#include "image/endpoint.h"
#include "tcp/capture.h"

namespace sockmi::broker {

class Guard : public std::enable_shared_from_this<Guard> {
 public:
  // Forks: to be called while this process has one thread. `state_folder` is the journal's.
  static Result<std::shared_ptr<Guard>> start(const std::filesystem::path& state_folder, tcp::Marks marks);
  ~Guard();  // the child has ended
  Guard(const Guard&) = delete;

  // The socket is guarded for as long as this lives. To be had before the freeze, and given up after its end. `asker` (-1: nobody): the local
  // connection of the application, which must not see its end, and go on with the socket, before the child has seen to it.
  class Hold {
   public:
    Hold() = default;
    Hold(Hold&& other) noexcept : guard_(std::exchange(other.guard_, nullptr)), id_(other.id_) {}
    Hold& operator=(Hold&& other) noexcept {
      std::swap(guard_, other.guard_);
      std::swap(id_, other.id_);
      return *this;
    }
    ~Hold() {
      if (guard_) guard_->say({id_, {}}, {});
    }

   private:
    friend Guard;
    std::shared_ptr<Guard> guard_;  // a daemon that stops ends with migrations under way
    image::MigrationId id_{};
  };
  Hold hold(const image::MigrationId& id, int fd, const tcp::Owner& owner, int asker);

 private:
  Guard(unique_fd line, pid_t child) : line_(std::move(line)), child_(child) {}
  struct Note {
    image::MigrationId id;
    tcp::Owner owner;
  };
  void say(const Note& note, std::span<const int> descriptors);  // none: it is let go
  static bool listen(int line, Note& note, std::vector<unique_fd>& descriptors);
  [[noreturn]] static void watch(unique_fd line, const std::filesystem::path& state_folder, tcp::Marks marks);

  unique_fd line_;
  pid_t child_;
};

}  // namespace sockmi::broker
