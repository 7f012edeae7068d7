#include "base/address_scope.h"

namespace sockmi {

bool is_loopback(const IpAddress& ip) {
  static const IpAddress network4 = *IpAddress::parse("127.0.0.0");
  static const IpAddress loopback6 = *IpAddress::parse("::1");
  return ip.unmapped().in_prefix(network4, 8) || ip == loopback6;
}

bool is_link_local(const IpAddress& ip) {
  static const IpAddress network = *IpAddress::parse("fe80::");
  return ip.in_prefix(network, 10);
}

}  // namespace sockmi
