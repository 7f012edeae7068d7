// Checks that an image is possible, because it comes from the network.
#pragma once

#include "base/error.h"
#include "wire/tcp_generated.h"

namespace sockmi::tcp {

Result<> check_connection(const wire::TcpT& image);  // Errors: EBADMSG
Result<> check_passive(const wire::TcpT& image);

}  // namespace sockmi::tcp
