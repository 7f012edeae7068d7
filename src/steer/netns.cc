#include "steer/netns.h"

#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <system_error>
#include <thread>

#include "base/log.h"
#include "steer/nft_upgrade.h"

namespace sockmi::steer {
namespace {

// Decodes a path in the form that mountinfo uses: a blank is written \040.
std::string unescape(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 3 >= text.size()) {
      out += text[i];
      continue;
    }
    out +=
        static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
    i += 3;
  }
  return out;
}

std::vector<std::string> mounted() {
  std::vector<std::string> out;
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string number, parent, device, root, point;
    if (words >> number >> parent >> device >> root >> point && root.starts_with("net:["))
      out.push_back(unescape(point));
  }
  return out;
}

std::vector<std::string> of_processes() {
  std::vector<std::string> out;
  std::error_code error;
  for (std::filesystem::directory_iterator each("/proc", error), end; !error && each != end;
       each.increment(error)) {
    const std::string name = each->path().filename();
    if (std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; }))
      out.push_back(each->path() / "ns/net");
  }
  return out;
}

}  // namespace

Result<ino_t> inode_of(int handle) {
  struct stat status {};
  if (::fstat(handle, &status) != 0) return fail_errno("cannot open a network namespace");
  return status.st_ino;
}

Result<NetworkNamespace> own_namespace() {
  unique_fd handle(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!handle) return fail_errno("cannot open the daemon's network namespace");
  TRY_LET(inode, inode_of(handle.get()));
  return NetworkNamespace{std::move(handle), inode};
}

// Uses a new thread, because setns(2) changes the namespace of the calling thread only,
// and that thread then serves no other purpose.
Result<> call_in(int handle, const std::function<Result<>()>& function) {
  Result<> result;
  try {
    std::thread([&] {
      result = ::setns(handle, CLONE_NEWNET) == 0
                   ? function()
                   : fail_errno("cannot enter another network namespace (it needs CAP_SYS_ADMIN)");
    }).join();
  } catch (const std::system_error& error) {
    return fail(error.code().value(), "cannot start a thread for another network namespace: {}",
                error.what());
  }
  return result;
}

Result<> check_owner(int handle) {
  const unique_fd theirs(::ioctl(handle, NS_GET_USERNS));
  if (!theirs) {
    return fail(EACCES,
                "network namespace belongs to a user namespace that is not below the daemon's");
  }
  struct stat ours {};
  if (::stat("/proc/self/ns/user", &ours) != 0)
    return fail_errno("cannot open the daemon's user namespace");
  TRY_LET(inode, inode_of(theirs.get()));
  if (inode == ours.st_ino) return {};
  uid_t owner = 0;
  if (::ioctl(theirs.get(), NS_GET_OWNER_UID, &owner) != 0)
    return fail_errno("cannot read the owner of a user namespace");
  return owner == 0 ? Result<>()
                    : fail(EACCES, "network namespace belongs to user {}, not to root", owner);
}

std::vector<NetworkNamespace> other_namespaces() {
  std::vector<NetworkNamespace> out;
  std::set<ino_t> seen;
  if (const auto own = own_namespace()) seen.insert(own->inode);
  std::vector<std::string> paths = mounted();
  std::ranges::move(of_processes(), std::back_inserter(paths));
  for (const std::string& path : paths) {
    // O_NONBLOCK, because any kind of file may be mounted over the path.
    unique_fd handle(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (!handle || ::ioctl(handle.get(), NS_GET_NSTYPE) != CLONE_NEWNET) continue;
    if (const auto inode = inode_of(handle.get()); inode && seen.insert(*inode).second)
      out.push_back({std::move(handle), *inode});
  }
  return out;
}

Served served_from(ino_t daemon) {
  Served out;
  for (NetworkNamespace& each : other_namespaces()) {
    if (!check_owner(each.handle.get())) continue;
    bool ours = false;
    const auto looked = call_in(each.handle.get(), [&]() -> Result<> {
      TRY_LET(netfilter, net::Netlink::open(NETLINK_NETFILTER));
      TRY_LET(found, has_chain(*netfilter, mark_of_service(daemon)));
      ours = found;
      return {};
    });
    if (!looked)
      log::debug("namespace_open_failed", {{"namespace", each.inode}, {"error", looked.error()}});
    out.closed += !looked;
    if (ours) out.namespaces.push_back(std::move(each));
  }
  return out;
}

}  // namespace sockmi::steer
