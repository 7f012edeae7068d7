// Whether an image can be: it comes from the network.
#pragma once

#include "base/error.h"
#include "image/tcp_generated.h"

namespace sockmi::tcp {

Result<> check_connection(const image::TcpT& image);  // EBADMSG
Result<> check_passive(const image::TcpT& image);

}  // namespace sockmi::tcp
