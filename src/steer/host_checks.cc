// Checks only for problems that are reproduced in tests/unit/steer/firewall_test.cc. Two
// settings are not a problem: a firewall that drops everything except known connections,
// because each imported connection is made known to it (net/conntrack.h); and strict
// reverse path filtering on a host with one interface.
#include "steer/host_checks.h"

#include <net/if.h>

#include <algorithm>
#include <fstream>

#include <fmt/core.h>

namespace sockmi::steer {
namespace {

int sysctl(const std::string& name, int otherwise) {
  std::ifstream file("/proc/sys/net/" + name);
  int value = otherwise;
  file >> value;
  return value;
}

}  // namespace

std::vector<std::string> warnings(const std::vector<std::string>& interfaces) {
  std::vector<std::string> out;
  for (const std::string& interface : interfaces) {
    if (::if_nametoindex(interface.c_str()) == 0) {
      out.push_back(fmt::format("interface {} is gone: nothing that comes in by it is redirected",
                                interface));
    }
  }
  if (interfaces.size() > 1) {
    for (const std::string& interface : interfaces) {
      if (std::max(sysctl("ipv4/conf/all/rp_filter", 0),
                   sysctl("ipv4/conf/" + interface + "/rp_filter", 0)) == 1) {
        out.push_back(
            fmt::format("net.ipv4.conf.{0}.rp_filter is 1 (strict): peers' packets that another "
                        "host sends on to {0} are dropped if the route to the "
                        "peer leaves by another interface; set it to 2 (loose)",
                        interface));
      }
    }
  }
  return out;
}

}  // namespace sockmi::steer
