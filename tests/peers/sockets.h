// TCP and Unix sockets by their names. Errors are thrown.
#pragma once

#include <string>

#include "connection.h"

namespace mover {

Fd listen_tcp(const std::string& address);  // "ADDRESS:PORT"
Fd connect_tcp(const std::string& address);
Fd listen_unix(const std::string& path);  // replaces what is there
Fd connect_unix(const std::string& path);
Fd accept_one(const Fd& listener);
void set_relaying(const Fd& fd);  // non-blocking, and no byte waits for others

[[noreturn]] void fail_errno(const std::string& what);

}  // namespace mover
