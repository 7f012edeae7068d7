#include "broker/guard.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cstring>
#include <map>

#include "base/log.h"
#include "broker/journal.h"

namespace sockmi::broker {
namespace {

constexpr std::size_t kMost = 2;  // descriptors of a note: the socket, and the asker's connection

union Control {
  cmsghdr header;
  char bytes[CMSG_SPACE(kMost * sizeof(int))];
};

struct Held {
  tcp::Owner owner;
  std::vector<unique_fd> descriptors;
};

void settle(const std::filesystem::path& state_folder, tcp::Marks marks, std::map<image::MigrationId, Held>& all) {
  const auto journal = Journal::look(state_folder);
  if (!journal) return log::error("event=sockets_left_mute count={} error=\"{}\"", all.size(), to_string(journal.error()));
  for (auto& [id, held] : all) {
    auto frozen = tcp::Frozen::resume(held.descriptors.front().get(), held.owner, marks);
    if (!frozen) continue;  // the daemon had not come to it, or was done with it
    const bool decided = journal->has(id);
    const auto done = decided ? frozen->kill() : frozen->give_back();
    log::warn("event=daemon_died_in_freeze migration={} committed={} error=\"{}\"", image::to_hex(id), decided, done ? "" : to_string(done.error()));
  }
}

}  // namespace

// One note. False: the daemon is gone.
bool Guard::listen(int line, Note& note, std::vector<unique_fd>& descriptors) {
  iovec part{&note, sizeof note};
  Control control;
  msghdr message{.msg_name = nullptr, .msg_namelen = 0, .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control, .msg_flags = 0};
  ssize_t got;
  while ((got = ::recvmsg(line, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  descriptors.clear();
  if (const cmsghdr* header = CMSG_FIRSTHDR(&message); got > 0 && header && header->cmsg_type == SCM_RIGHTS)
    for (std::size_t i = 0; i < (header->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
      int received;
      std::memcpy(&received, CMSG_DATA(header) + i * sizeof received, sizeof received);
      descriptors.emplace_back(received);
    }
  return got == sizeof note;
}

void Guard::watch(unique_fd line, const std::filesystem::path& state_folder, tcp::Marks marks) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) ::signal(number, SIG_IGN);  // the daemon's end is what ends us
  ::prctl(PR_SET_NAME, "sockmid-guard");
  std::map<image::MigrationId, Held> held;
  Note note;
  for (std::vector<unique_fd> descriptors; listen(line.get(), note, descriptors);) {
    if (descriptors.empty()) held.erase(note.id);
    else held[note.id] = {note.owner, std::exchange(descriptors, {})};
  }
  if (!held.empty()) settle(state_folder, marks, held);
  ::_exit(0);
}

Result<std::shared_ptr<Guard>> Guard::start(const std::filesystem::path& state_folder, tcp::Marks marks) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return fail_errno("socketpair");
  unique_fd ours(ends[0]), theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return fail_errno("fork");
  if (child == 0) {
    ours.reset();
    watch(std::move(theirs), state_folder, marks);
  }
  return std::shared_ptr<Guard>(new Guard(std::move(ours), child));
}

Guard::~Guard() {
  line_.reset();
  while (::waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Guard::Hold Guard::hold(const image::MigrationId& id, int fd, const tcp::Owner& owner, int asker) {
  const int descriptors[kMost] = {fd, asker};
  say({id, owner}, std::span(descriptors).first(asker < 0 ? 1 : 2));
  Hold out;
  out.guard_ = shared_from_this();
  out.id_ = id;
  return out;
}

// Blocks while the child is behind; it only receives.
void Guard::say(const Note& note, std::span<const int> descriptors) {
  Note copy = note;
  iovec part{&copy, sizeof copy};
  Control control{};
  msghdr message{.msg_name = nullptr, .msg_namelen = 0, .msg_iov = &part, .msg_iovlen = 1, .msg_control = nullptr, .msg_controllen = 0, .msg_flags = 0};
  if (!descriptors.empty()) {
    control.header = {.cmsg_len = CMSG_LEN(descriptors.size_bytes()), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    std::memcpy(CMSG_DATA(&control.header), descriptors.data(), descriptors.size_bytes());
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
  }
  ssize_t sent;
  while ((sent = ::sendmsg(line_.get(), &message, MSG_NOSIGNAL)) < 0 && errno == EINTR) {
  }
  if (sent < 0) log::error("event=unguarded migration={} error=\"{}\"", image::to_hex(note.id), to_string(fail_errno("guard").error()));
}

}  // namespace sockmi::broker
