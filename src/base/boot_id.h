// Names the present boot of this host. Socket cookies have a meaning only within it.
#pragma once

#include <filesystem>
#include <string>

namespace sockmi {

// Returns the kernel's name of this boot; empty if the file cannot be read.
std::string boot_id(const std::filesystem::path& file = "/proc/sys/kernel/random/boot_id");

}  // namespace sockmi
