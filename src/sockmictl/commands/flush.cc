// Removes all rules from the kernel, including those that a dead daemon's takeover left,
// and those in the network namespaces of containers.
#include <cstdio>

#include "sockmictl/commands.h"
#include "steer/namespaced_steering.h"
#include "steer/nft_steering.h"
#include "steer/syn_filter.h"

namespace sockmi::sockmictl {

Action flush_rules(CLI::App&, const Globals&) {
  return []() -> Result<> {
    TRY(steer::flush());
    TRY(steer::remove_syn_filters());
    TRY_LET(closed, steer::flush_others());
    if (closed > 0) {
      std::fprintf(stderr,
                   "sockmictl: cannot look into %zu other network namespaces (CAP_SYS_ADMIN): "
                   "rules may be left in them\n",
                   closed);
    }
    return {};
  };
}

}  // namespace sockmi::sockmictl
