// What is asked of the kernel about many connections at one moment, in one network namespace: nothing twice that is the same for many of
// them. It is not to outlive that moment, for what it remembers may change.
#pragma once

#include <map>
#include <optional>
#include <tuple>

#include "net/addresses.h"
#include "net/ipsec.h"
#include "steer/path_lookup.h"

namespace sockmi::steer {

class KernelQueries {
 public:
  KernelQueries() = default;
  KernelQueries(const KernelQueries&) = delete;

  Result<const std::vector<net::HostAddress>*> addresses();
  Result<const std::vector<net::IpsecPolicy>*> ipsec_policies();
  // See path.h. `interfaces` are the same each time.
  Result<Route> route_to(const IpAddress& host, const Sender& sender = {});
  Result<bool> is_listed(unsigned interface, const std::vector<std::string>& interfaces);

 private:
  std::optional<Result<std::vector<net::HostAddress>>> addresses_;
  std::optional<Result<std::vector<net::IpsecPolicy>>> policies_;
  std::map<std::tuple<IpAddress, IpAddress, std::uint32_t, unsigned>, Result<Route>> routes_;
  std::map<unsigned, Result<bool>> listed_;
};

}  // namespace sockmi::steer
