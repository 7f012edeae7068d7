#include "proxy/backend_address.h"

#include <algorithm>
#include <charconv>

namespace sockmi::proxy {
namespace {

constexpr std::size_t kLongestHost = 253;  // RFC 1035, section 2.3.4, as text

// Whether it can be a host name, and is no misspelt address.
bool is_host(std::string_view text) {
  const auto is_plain = [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.';
  };
  const auto last = text.substr(text.rfind('.') + 1);
  return !text.empty() && text.size() <= kLongestHost && std::ranges::all_of(text, is_plain) &&
         std::ranges::any_of(last, [](unsigned char c) { return std::isalpha(c); });
}

}  // namespace

Result<BackendAddress> BackendAddress::parse(std::string_view text) {
  BackendAddress address;
  const auto colon = text.rfind(':');
  const std::string_view host = text.substr(0, colon);
  if (colon == text.npos || !is_host(host) || text.starts_with("unix:")) {
    TRY_LET(fixed, StreamAddress::parse(text));
    address.fixed = std::move(fixed);
    return address;
  }
  const std::string_view port = text.substr(colon + 1);
  const auto read = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (read.ec != std::errc() || read.ptr != port.data() + port.size() || address.port == 0)
    return fail(EINVAL, "invalid address '{}': invalid port", text);
  address.host = host;
  return address;
}

std::string to_string(const BackendAddress& address) {
  return address.is_name() ? fmt::format("{}:{}", address.host, address.port)
                           : to_string(address.fixed);
}

}  // namespace sockmi::proxy
