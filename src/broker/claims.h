// What another host's word is good for, when it says where a connection lives.
#pragma once

#include "broker/world.h"
#include "peer/speaker.h"

namespace sockmi::broker {

// Whether `to` is an address of `host`: that from which it speaks to us, or one by which it is known here.
Result<> check_address(const World& world, const peer::Speaker& from, const std::string& host, const IpAddress& to);

}  // namespace sockmi::broker
