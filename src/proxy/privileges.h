// Gives up root.
#pragma once

#include <string>

#include "base/error.h"

namespace sockmi::proxy {

// Makes the whole process, with all its threads, run as `name` with this user's groups,
// and without any capability. Errors: ENOENT if there is no such user; EPERM without
// privilege.
Result<> become_user(const std::string& name);

}  // namespace sockmi::proxy
