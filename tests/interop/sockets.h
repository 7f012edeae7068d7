// TCP and Unix sockets by their names. Errors are thrown.
#pragma once

#include <string>

#include "connection.h"

namespace mover {

Fd listen_tcp(const std::string& address);  // "ADDRESS:PORT"
Fd connect_tcp(const std::string& address);
Fd listen_unix(const std::string& path);  // replaces an existing one
Fd connect_unix(const std::string& path);
Fd accept_one(const Fd& listener);
void set_relaying(const Fd& fd);  // non-blocking, and without delaying small writes

[[noreturn]] void fail_errno(const std::string& what);

}  // namespace mover
