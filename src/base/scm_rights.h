// Passes descriptors over Unix sockets (SCM_RIGHTS).
#pragma once

#include <sys/socket.h>

#include <span>
#include <vector>

#include "base/unique_fd.h"

namespace sockmi {

// Descriptors in one message of the local interface, each with what it stands for.
inline constexpr std::size_t kMaxDescriptorsPerMessage = 64;

// Attaches the descriptors to a message that is to be sent. `control` is aligned like
// cmsghdr, has at least CMSG_SPACE(descriptors.size_bytes()) bytes, and must outlive the
// message. Without descriptors nothing is attached.
void attach_descriptors(msghdr& message, std::span<char> control, std::span<const int> descriptors);
// Appends the descriptors of a message that was received.
void take_descriptors(msghdr& message, std::vector<unique_fd>& descriptors);

}  // namespace sockmi
