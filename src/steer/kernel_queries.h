// Caches answers of the kernel about many connections at one moment, in one network
// namespace, so that nothing that several connections share is queried twice. Must not
// outlive that moment, because the answers may change.
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
  // See path_lookup.h. `interfaces` must be the same in each call.
  Result<Route> route_to(const IpAddress& host, const Sender& sender = {});
  Result<bool> is_listed(unsigned interface, const std::vector<std::string>& interfaces);

 private:
  std::optional<Result<std::vector<net::HostAddress>>> addresses_;
  std::optional<Result<std::vector<net::IpsecPolicy>>> policies_;
  std::map<std::tuple<IpAddress, IpAddress, std::uint32_t, unsigned>, Result<Route>> routes_;
  std::map<unsigned, Result<bool>> listed_;
};

}  // namespace sockmi::steer
