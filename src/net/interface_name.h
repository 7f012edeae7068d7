// The name of an interface, for messages and for what the kernel knows by name.
#pragma once

#include <string>

namespace sockmi::net {

// Returns "?" if there is no such interface.
std::string interface_name(unsigned interface);

}  // namespace sockmi::net
