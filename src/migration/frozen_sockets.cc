#include "migration/frozen_sockets.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>

#include "base/spawn.h"
#include "migration/marks.h"
#include "tcp/capture.h"
#include "tcp/socket_info.h"

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

}  // namespace

Result<unique_fd> descriptor_of(const net::TcpSocket& socket) {
  const std::string wanted = fmt::format("socket:[{}]", socket.inode);
  Result<unique_fd> found =
      fail(ENOENT, "cannot find a process that has the socket and may be inspected");
  for_each_number_in("/proc", [&](int pid, const files::path& process) {
    if (found || pid == ::getpid()) return;
    for_each_number_in(process / "fd", [&](int fd, const files::path& link) {
      std::error_code error;
      if (found || files::read_symlink(link, error) != wanted || error) return;
      const unique_fd handle(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
      unique_fd copy(handle ? static_cast<int>(::syscall(SYS_pidfd_getfd, handle.get(), fd, 0))
                            : -1);
      if (!copy) {
        found = fail_errno(fmt::format("cannot get descriptor {} of process {}", fd, pid));
        return;
      }
      const auto facts = tcp::socket_info(copy.get());
      if (facts && facts->cookie == socket.cookie) found = std::move(copy);
    });
  });
  return found;
}

Result<> unfreeze(const Services& services, const net::TcpSocket& socket, std::uint32_t mark) {
  TRY_LET(descriptor, descriptor_of(socket));
  TRY_LET(frozen, tcp::FrozenSocket::resume(descriptor.get(), {.mark = mark}, kMarks));
  return services.steering->within(socket.tuple.local.ip, [&] { return frozen.unfreeze(); });
}

Result<Sockets> sockets_everywhere(const Services& services) {
  TRY_LET(all, services.all_sockets());
  services.steering->within_others([&]() -> Result<> {
    TRY_LET(there, net::all_sockets());
    all.merge(there);
    return {};
  });
  return all;
}

namespace {

// Home was not told of the move while it was in doubt.
Result<> give_away(Connections& connections, const FourTuple& tuple, std::uint64_t cookie) {
  const Services& services = connections.services;
  TRY(services.steering->within(tuple.local.ip, [&] { return net::destroy(tuple, cookie); }));
  const RemoteConnection* away = connections.table.find_remote(tuple);
  if (away && away->home != services.settings.host)
    spawn(services.io, "tell_moved", connections.homes.notify_moved(tuple));
  return {};
}

// Removes the redirect before unfreezing, so that the endpoint receives before it sends.
// If the socket cannot be unfrozen, its redirect stays as well.
Result<> give_back(Connections& connections, const FourTuple& tuple, std::uint64_t cookie,
                   std::uint32_t mark) {
  const Services& services = connections.services;
  TRY_LET(sockets, sockets_everywhere(services));
  const auto socket = sockets.find(cookie);
  if (socket == sockets.end()) return {};
  TRY(descriptor_of(socket->second));
  TRY(services.steering->remove_redirects(std::vector<FourTuple>(1, tuple)));
  connections.table.mark_returned(tuple);
  connections.table.forget_unexplained_redirect(tuple);
  return unfreeze(services, socket->second, mark);
}

}  // namespace

void leave_frozen(Connections& connections, const FourTuple& tuple, std::uint64_t cookie,
                  std::uint32_t mark) {
  const Services& services = connections.services;
  services.in_doubt.add(frozen_id(cookie),
                        {.kind = "frozen",
                         .tuple = tuple,
                         .host = services.settings.host,
                         .since = {},
                         .decide = [&connections, tuple, cookie, mark](Decide how) {
                           return how == Decide::Commit
                                      ? give_away(connections, tuple, cookie)
                                      : give_back(connections, tuple, cookie, mark);
                         }});
}

}  // namespace sockmi::daemon
