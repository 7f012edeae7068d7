// What the requests that export endpoints, or hand them over, have in common.
#pragma once

#include <string>

#include "base/user.h"
#include "wire/control_messages.h"
#include "wire/flatbuffer.h"

namespace sockmi::api {

// Returns the part `i` of a request of `user`, without what its socket says. Errors:
// EINVAL if its state is none, does not fit its TLS image, or cannot be in its group, or
// if the parts of its group do not follow each other; EMSGSIZE if its payload is too
// large.
Result<wire::Endpoint> read_part(const wire::ExportRequest& input, unsigned i,
                                 const std::string& service, const User& user);

}  // namespace sockmi::api
