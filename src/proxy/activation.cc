#include "proxy/activation.h"

#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include <cstdlib>

namespace sockmi::proxy {
namespace {

int option_of(const unique_fd& socket, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  return ::getsockopt(socket.get(), SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

Result<> check(const unique_fd& socket, const std::string& name) {
  if (option_of(socket, SO_TYPE) != SOCK_STREAM || option_of(socket, SO_ACCEPTCONN) != 1)
    return fail(EINVAL, "systemd:{}: not a listening stream socket", name);
  return {};
}

}  // namespace

Activation Activation::take() {
  Activation activation;
  char** names = nullptr;
  const int count = ::sd_listen_fds_with_names(/*unset_environment=*/1, &names);
  for (int i = 0; i < count; ++i) {
    activation.sockets_.emplace_back(names[i], unique_fd(SD_LISTEN_FDS_START + i));
    std::free(names[i]);
  }
  std::free(names);
  return activation;
}

Result<std::vector<unique_fd>> Activation::sockets(const std::string& name) const {
  std::vector<unique_fd> found;
  for (const auto& [its_name, socket] : sockets_) {
    if (its_name != name) continue;
    TRY(check(socket, name));
    unique_fd ours = socket.dup();
    if (!ours || ::fcntl(ours.get(), F_SETFL, O_NONBLOCK) != 0)
      return fail_errno("cannot use systemd:" + name);
    found.push_back(std::move(ours));
  }
  if (found.empty()) return fail(ENOENT, "systemd has opened no socket of the name {}", name);
  return found;
}

}  // namespace sockmi::proxy
