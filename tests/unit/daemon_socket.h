// A socket at which a test acts as sockmid: $SOCKMID_SOCKET is its path.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "base/unique_fd.h"
#include "unit/temporary_folder.h"

namespace sockmi::test {

class DaemonSocket {
 public:
  DaemonSocket() {
    std::strcpy(path_.sun_path, (folder_.path / "socket").c_str());
    if (::bind(listener(), address(), sizeof path_) != 0 || ::listen(listener(), 100) != 0)
      throw std::runtime_error(std::string("bind ") + path());
    ::setenv("SOCKMID_SOCKET", path(), 1);
  }

  unique_fd accept() const {
    return unique_fd(::accept4(listener(), nullptr, nullptr, SOCK_CLOEXEC));
  }
  int listener() const { return listener_.get(); }
  const char* path() const { return path_.sun_path; }
  const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&path_); }
  static constexpr socklen_t kAddressSize = sizeof(sockaddr_un);

 private:
  const TemporaryFolder folder_;
  sockaddr_un path_{.sun_family = AF_UNIX, .sun_path = {}};
  const unique_fd listener_{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
};

}  // namespace sockmi::test
