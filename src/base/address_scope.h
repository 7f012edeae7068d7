// Recognizes addresses that other hosts cannot reach.
#pragma once

#include "base/address.h"

namespace sockmi {

bool is_loopback(const IpAddress& ip);    // 127.0.0.0/8, ::1
bool is_link_local(const IpAddress& ip);  // fe80::/10

}  // namespace sockmi
