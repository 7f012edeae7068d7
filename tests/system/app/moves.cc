// Commands that export and import sockets, by libsockmi.
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

// An address; "": any host; or "here": another process of this host.
struct Target {
  explicit Target(const std::string& text) : here(text == "here") {
    if (text.empty() || here) return;
    family = text.find(':') == std::string::npos ? AF_INET : AF_INET6;
    if (::inet_pton(family, text.c_str(), bytes) != 1)
      throw std::invalid_argument(text + " is no address");
  }
  const void* address() const { return family == AF_UNSPEC ? nullptr : bytes; }
  std::uint64_t flags() const { return here ? SOCKMI_HAND_OVER : 0; }
  bool here;
  int family = AF_UNSPEC;
  unsigned char bytes[16]{};
};

}  // namespace

Json export_socket(Words& words) {
  const int fd = words.small(), state = words.small();
  const std::string service = words.word();
  const std::string to = words.more() ? words.word() : "any";
  const Target target(to == "any" ? "" : to);
  sockmi_export_options options{};
  options.service = service.c_str();
  options.flags = target.flags();
  if (words.more()) options.timeout = words.small();
  if (::sockmi_export_socket_with(fd, state, target.family, target.address(), &options) != 0)
    fail_sockmi();
  return Json::object();
}

Json export_sockets(Words& words) {
  const std::string service = words.word();
  const Target target(words.word());
  sockmi_export_options options{};
  options.service = service.c_str();
  options.flags = target.flags();
  std::vector<sockmi_export_socket_req> all;
  while (words.more())
    all.push_back({.fd = words.small(), .state = SOCKMI_CONNECTED});
  (void)::sockmi_export_sockets(all.data(), static_cast<unsigned>(all.size()), target.family,
                                target.address(), &options);
  Json errors = Json::array();
  for (const auto& each : all)
    errors.push_back(each.error);
  return {{"errors", std::move(errors)}};
}

Json export_groups(Words& words) {
  const std::string service = words.word();
  const Target target(words.word());
  sockmi_export_options options{};
  options.service = service.c_str();
  options.flags = target.flags();
  std::vector<sockmi_export_socket_req> all;
  while (words.more()) {
    const int fd = words.small(), state = words.small();
    all.push_back({.fd = fd, .state = state, .group = static_cast<unsigned>(words.small())});
  }
  if (::sockmi_export_sockets(all.data(), static_cast<unsigned>(all.size()), target.family,
                              target.address(), &options) < 0 &&
      errno == EINVAL)
    fail_sockmi();
  Json errors = Json::array();
  for (const auto& each : all)
    errors.push_back(each.error);
  return {{"errors", std::move(errors)}, {"reason", sockmi_last_error()}};
}

Json import_groups(Words& words) {
  std::vector<sockmi_import_socket_req> requests(words.size());
  const std::string service = words.word();
  for (auto& request : requests) {
    request.criteria.service = service.c_str();
    request.criteria.states = SOCKMI_CONNECTED;
  }
  const int got =
      ::import_socket(requests.data(), static_cast<unsigned>(requests.size()), words.small());
  if (got < 0) fail_sockmi();
  Json all = Json::array(), groups = Json::array();
  for (const auto& request : requests) {
    std::free(request.payload);
    if (request.state == 0) continue;
    all.push_back(request.fd);
    groups.push_back(request.group);
  }
  return {{"fds", std::move(all)}, {"groups", std::move(groups)}};
}

Json import_socket(Words& words) {
  sockmi_import_socket_req request{};
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
