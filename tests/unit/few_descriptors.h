// Lets the process open only a few more descriptors while the object exists.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace sockmi::test {

class FewDescriptors {
 public:
  // `more`: how many can still be opened, if no lower number is free.
  explicit FewDescriptors(rlim_t more) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const int next = ::fcntl(0, F_DUPFD_CLOEXEC, 0);
    ::close(next);
    const rlimit limit{static_cast<rlim_t>(next) + more, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  FewDescriptors(const FewDescriptors&) = delete;

 private:
  rlimit before_{};
};

}  // namespace sockmi::test
