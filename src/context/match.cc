#include "context/match.h"

#include <charconv>

namespace sockmi::daemon {

Result<Match> Match::parse(const std::string& text) {
  Match match;
  if (text.empty()) return match;
  if (const auto exact = SocketAddress::parse(text)) {
    match.ip = exact->ip;
    match.prefix = exact->ip.size() * 8;
    match.port = exact->port;
    return match;
  }
  const auto slash = text.find('/');
  TRY_LET(ip, IpAddress::parse(text.substr(0, slash)));
  match.ip = ip;
  match.prefix = ip.size() * 8;
  if (slash == text.npos) return match;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + slash + 1, end, match.prefix);
  if (error != std::errc() || rest != end || match.prefix > ip.size() * 8)
    return fail(EINVAL, "invalid address range '{}': expected ADDRESS/PREFIX", text);
  return match;
}

bool Match::fits(const SocketAddress& address) const {
  return address.ip.unmapped().in_prefix(ip.unmapped(), prefix) &&
         (port == 0 || port == address.port);
}

}  // namespace sockmi::daemon
