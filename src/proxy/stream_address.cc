#include "proxy/stream_address.h"

#include <sys/un.h>

#include <cstddef>
#include <cstring>

namespace sockmi::proxy {
namespace {

constexpr std::string_view kUnix = "unix:", kSystemd = "systemd:";

}  // namespace

Result<StreamAddress> StreamAddress::parse(std::string_view text) {
  StreamAddress address;
  if (text.starts_with(kSystemd)) {
    address.activated = text.substr(kSystemd.size());
    if (address.activated.empty()) return fail(EINVAL, "invalid address '{}': no name", text);
    return address;
  }
  if (!text.starts_with(kUnix)) {
    TRY_LET(ip, SocketAddress::parse(text));
    if (ip.port == 0) return fail(EINVAL, "invalid address '{}': port 0", text);
    address.ip = ip;
    return address;
  }
  address.path = text.substr(kUnix.size());
  if (!address.path.starts_with('/') || address.path.find('\0') != std::string::npos)
    return fail(EINVAL, "invalid address '{}': the path is not absolute", text);
  if (address.path.size() >= sizeof(sockaddr_un::sun_path))
    return fail(EINVAL, "invalid address '{}': the path is too long", text);
  return address;
}

socklen_t StreamAddress::to(sockaddr_storage& out) const {
  if (path.empty()) return ip.to(out);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  std::memcpy(&out, &address, sizeof address);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
}

std::string to_string(const StreamAddress& address) {
  if (!address.activated.empty()) return std::string(kSystemd) + address.activated;
  return address.path.empty() ? to_string(address.ip) : std::string(kUnix) + address.path;
}

}  // namespace sockmi::proxy
