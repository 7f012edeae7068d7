// Finds the processes that have a socket, in /proc. What a process of another user has,
// only root sees (CAP_SYS_PTRACE), which sockmid may lack.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace sockmi::sockmictl {

// The processes that have each socket, by its inode.
using SocketOwners = std::map<std::uint64_t, std::vector<pid_t>>;
SocketOwners socket_owners();
// Returns the name of a process as ps(1) shows it; "" if the process has ended.
std::string program_of(pid_t process);

}  // namespace sockmi::sockmictl
