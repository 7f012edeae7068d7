#include "proxy/alpn.h"

#include <algorithm>

#include "proxy/byte_reader.h"

namespace sockmi::proxy {

Result<Protocols> read_protocols(ByteView list) {
  if (list.size() > kMaxProtocolListBytes)
    return fail(EPROTO, "the client offers too many application protocols");
  Protocols protocols;
  for (ByteReader reader(list); reader.left() > 0;) {
    ByteReader name = reader.part(1);
    if (name.failed() || name.left() == 0)
      return fail(EPROTO, "malformed list of application protocols");
    protocols.push_back(name.text());
  }
  return protocols;
}

Bytes write_protocols(const Protocols& protocols) {
  Bytes list;
  for (const auto& each : protocols) {
    list.push_back(static_cast<std::uint8_t>(each.size()));
    list.insert(list.end(), each.begin(), each.end());
  }
  return list;
}

Result<Protocols> common_protocols(const Protocols& taken, const Protocols& offered) {
  if (taken.empty() || offered.empty()) return offered;
  Protocols common;
  for (const auto& each : taken)
    if (std::ranges::find(offered, each) != offered.end()) common.push_back(each);
  if (common.empty())
    return fail(EPROTONOSUPPORT, "the client offers no application protocol of the service");
  return common;
}

}  // namespace sockmi::proxy
