// Commands that give sockets away and take them, by libsockmi.
#include <arpa/inet.h>
#include <sockmi/sockmi.h>
#include <sys/socket.h>

#include <cstdlib>

#include "app.h"

namespace app {
namespace {

[[noreturn]] void fail_sockmi() {
  const int code = errno;
  throw std::system_error(code, std::generic_category(), sockmi_last_error());
}

}  // namespace

Json export_socket(Words& words) {
  const int fd = words.small(), state = words.small();
  const std::string service = words.word();
  unsigned char to[16];
  int family = AF_UNSPEC;
  if (words.more()) {
    const std::string host = words.word();
    family = host.find(':') == std::string::npos ? AF_INET : AF_INET6;
    if (::inet_pton(family, host.c_str(), to) != 1) throw std::invalid_argument(host + " is no address");
  }
  sockmi_export_options options{};
  options.service = service.c_str();
  if (::export_socket_with(fd, state, family, family == AF_UNSPEC ? nullptr : to, &options) != 0) fail_sockmi();
  return Json::object();
}

Json import_socket(Words& words) {
  import_socket_req request{};
  request.criteria.states = static_cast<unsigned>(words.small());
  const std::string service = words.word();
  request.criteria.service = service.c_str();
  const int got = ::import_socket(&request, 1, words.small());
  std::free(request.payload);
  if (got < 0) fail_sockmi();
  if (got == 0) return {{"error", ETIMEDOUT}, {"reason", "nothing came"}};
  return {{"fd", request.fd}, {"state", request.state}};
}

}  // namespace app
