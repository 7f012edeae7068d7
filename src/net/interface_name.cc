#include "net/interface_name.h"

#include <net/if.h>

namespace sockmi::net {

std::string interface_name(unsigned interface) {
  char name[IF_NAMESIZE];
  return ::if_indextoname(interface, name) ? name : "?";
}

}  // namespace sockmi::net
