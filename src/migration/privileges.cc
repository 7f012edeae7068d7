#include "migration/privileges.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "base/sockmi_tag.h"

namespace sockmi::daemon {
namespace {

constexpr int kHighestForAll = 6;  // SO_PRIORITY; socket(7)

bool takes_privilege(const wire::SocketOptionT& option) {
  if (option.level == SOL_SOCKET && option.name == SO_PRIORITY) {
    int priority = kHighestForAll + 1;
    if (option.value.size() == sizeof priority)
      std::memcpy(&priority, option.value.data(), sizeof priority);
    return priority < 0 || priority > kHighestForAll;
  }
  if (option.level == SOL_SOCKET) return option.name == SO_TXTIME;
  return option.level == IPPROTO_IPV6 &&
         (option.name == IPV6_HOPOPTS || option.name == IPV6_DSTOPTS ||
          option.name == IPV6_RTHDRDSTOPTS);
}

}  // namespace

void leave_privileges_behind(wire::TcpT& socket) {
  socket.mark = 0;
  socket.transparent = false;
  std::erase_if(socket.options,
                [](const auto& option) { return !option || takes_privilege(*option); });
}

void drop_our_marks(wire::TcpT& socket) {
  if (socket.mark >> 16 == kSockmiTag) socket.mark = 0;
}

}  // namespace sockmi::daemon
