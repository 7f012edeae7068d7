#include "connections/orphaned_sockets.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>

#include <sockmi/sockmi.h>

#include "base/log.h"
#include "base/spawn.h"
#include "connections/redirects.h"
#include "migration/delta_files.h"
#include "migration/settlement.h"
#include "tcp/socket_info.h"
#include "tcp/states.h"

namespace sockmi::daemon {
namespace {

namespace files = std::filesystem;

std::optional<int> number(const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value)
                                                                  : std::nullopt;
}

// Calls `each` for every number among the file names in `folder`. Iterates without
// exceptions, because processes end and descriptors are closed meanwhile.
template <class Each>
void for_each_number_in(const files::path& folder, Each each) {
  std::error_code error;
  for (files::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error))
    if (const auto value = number(entry->path().filename())) each(*value, entry->path());
}

// Returns a duplicate of a descriptor of the socket, whichever process has one.
Result<unique_fd> descriptor_of(const net::TcpSocket& socket) {
  const std::string wanted = fmt::format("socket:[{}]", socket.inode);
  Result<unique_fd> found = fail(ENOENT, "no process that we may look into has a descriptor of it");
  for_each_number_in("/proc", [&](int pid, const files::path& process) {
    if (found || pid == ::getpid()) return;
    for_each_number_in(process / "fd", [&](int fd, const files::path& link) {
      std::error_code error;
      if (found || files::read_symlink(link, error) != wanted || error) return;
      const unique_fd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
      unique_fd copy(handle ? static_cast<int>(::syscall(SYS_pidfd_getfd, handle.get(), fd, 0))
                            : -1);
      if (!copy) {
        found = fail_errno(fmt::format("descriptor {} of process {}", fd, pid));
        return;
      }
      const auto facts = tcp::socket_info(copy.get());
      if (facts && facts->cookie == socket.cookie) found = std::move(copy);
    });
  });
  return found;
}

Result<> unfreeze(World& world, const net::TcpSocket& socket, std::uint32_t mark) {
  TRY_LET(descriptor, descriptor_of(socket));
  TRY_LET(frozen, tcp::FrozenSocket::resume(descriptor.get(), {.mark = mark}, kMarks));
  return world.steering->within(socket.tuple.local.ip, [&] { return frozen.unfreeze(); });
}

// Reconstructs the exporter's state of a decided endpoint, as far as the journal contains
// it.
std::shared_ptr<ExportedEndpoint> remembered(World& world, const wire::MigrationId& id,
                                             const Decision& decision, const Sockets& sockets) {
  const RemoteConnection* away = world.table.find_remote(decision.tuple);
  // Goes home unless it is away.
  wire::Endpoint endpoint{.home = decision.host, .home_control = decision.line};
  if (away) {
    endpoint.service = away->service;
    endpoint.home = away->home;
    endpoint.home_control = away->home_control;
    endpoint.generation = away->generation;
  }
  unique_fd descriptor;
  const auto socket = sockets.find(decision.cookie);
  if (is_passive(decision.tuple))
    endpoint.state = socket != sockets.end() && socket->second.state == tcp::kListen
                         ? SOCKMI_LISTENING
                         : SOCKMI_BOUND;
  else if (socket != sockets.end() && socket->second.mark == steer::kFreezeMark)
    if (auto found = descriptor_of(socket->second)) descriptor = std::move(*found);
  auto one = std::make_shared<ExportedEndpoint>(
      ExportItem{std::move(descriptor), std::move(endpoint), -1});
  one->id = id;
  one->tuple = decision.tuple;
  one->cookie = decision.cookie;
  one->owner = tcp::OriginalOptions{.mark = decision.mark};
  one->redirected = away != nullptr;
  one->decided = one->adopted = true;
  one->record = {.id = id,
                 .exported = true,
                 .service = one->endpoint.service,
                 .from = world.settings.host,
                 .to = decision.host,
                 .tuple = decision.tuple,
                 .started = std::chrono::system_clock::now()};
  if (one->endpoint.home != world.settings.host)
    one->guest = ImportedConnection{.tuple = decision.tuple,
                                    .service = one->endpoint.service,
                                    .home = one->endpoint.home,
                                    .home_control = one->endpoint.home_control,
                                    .from = one->endpoint.home,
                                    .from_line = one->endpoint.home_control,
                                    .generation = one->endpoint.generation};
  if (one->socket)
    if (auto frozen = tcp::FrozenSocket::resume(one->socket.get(), *one->owner, kMarks))
      one->frozen.emplace(std::move(*frozen));
  return one;
}

}  // namespace

Result<Sockets> sockets_everywhere(World& world) {
  TRY_LET(all, net::all_sockets());
  world.steering->within_others([&]() -> Result<> {
    TRY_LET(there, net::all_sockets());
    all.merge(there);
    return {};
  });
  return all;
}

std::string frozen_id(std::uint64_t cookie) {
  return fmt::format("socket-{}", cookie);
}

void leave_frozen(World& world, const FourTuple& tuple, std::uint64_t cookie, std::uint32_t mark) {
  world.in_doubt.add(frozen_id(cookie),
                     {.kind = "frozen",
                      .tuple = tuple,
                      .host = world.settings.host,
                      .since = {},
                      .decide = [&world, tuple, cookie, mark](Decide how) -> Result<> {
                        if (how == Decide::Commit)
                          return world.steering->within(
                              tuple.local.ip, [&] { return net::destroy(tuple, cookie); });
                        TRY_LET(sockets, sockets_everywhere(world));
                        const auto socket = sockets.find(cookie);
                        return socket == sockets.end() ? Result<>()
                                                       : unfreeze(world, socket->second, mark);
                      }});
}

void adopt_orphans(World& world, const Sockets& sockets) {
  const auto decisions = world.table.journal().decisions();
  drop_unexplained_late(world.settings.runtime, world.table.journal());
  std::set<std::uint64_t> decided;
  for (const auto& [id, decision] : decisions)
    decided.insert(decision.cookie);
  for (const auto& [cookie, socket] : sockets) {
    if (socket.mark != steer::kFreezeMark || decided.contains(cookie)) continue;
    const auto given = unfreeze(world, socket, 0);
    log::warn("event=mute_socket_found connection={} given_back={} error=\"{}\"",
              to_string(socket.tuple), given.has_value(), given ? "" : to_string(given.error()));
    if (!given) leave_frozen(world, socket.tuple, cookie, 0);
  }
  for (const auto& [id, decision] : decisions) {
    // Written by an older daemon, without the importer. An importer that asks gets an
    // answer.
    if (decision.host.empty()) continue;
    auto one = remembered(world, id, decision, sockets);
    wire::Committed committed{.id = id};
    if (auto late = kept_late(world.settings.runtime, id)) {
      committed.late = std::move(*late);
      // The socket was an earlier daemon's: what was written to it after that is unknown.
      committed.late.more = false;
      world.undecided.insert(id);  // an importer that asks has to wait for it
    } else if (late.error().code != ENOENT) {
      log::error("event=late_unreadable migration={} error=\"{}\"", wire::to_hex(id),
                 to_string(late.error()));
    }
    auto commitment =
        std::make_shared<CommitProgress>(world.io.get_executor(), std::move(committed));
    const cluster::SelectedHost importer{.host = decision.host, .line = decision.line};
    spawn(world.io, "repeat_commit", send_commit_until_acknowledged(world, importer, {commitment}));
    leave_in_doubt(world, importer, *one, std::move(commitment));
  }
}

}  // namespace sockmi::daemon
