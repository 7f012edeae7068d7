#include "lib/epoll_sets.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string_view>

namespace sockmi::lib {

EpollSets EpollSets::find() {
  EpollSets found;
  const std::unique_ptr<DIR, int (*)(DIR*)> all(::opendir("/proc/self/fd"), ::closedir);
  if (!all) return found;
  while (const dirent* each = ::readdir(all.get())) {
    char target[64];
    const ssize_t size = ::readlinkat(::dirfd(all.get()), each->d_name, target, sizeof target);
    if (size > 0 &&
        std::string_view(target, static_cast<std::size_t>(size)) == "anon_inode:[eventpoll]")
      found.sets_.push_back(std::atoi(each->d_name));
  }
  return found;
}

void EpollSets::remove(int fd) const {
  for (const int set : sets_)
    (void)::epoll_ctl(set, EPOLL_CTL_DEL, fd, nullptr);
}

}  // namespace sockmi::lib
