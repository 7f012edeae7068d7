// Files with keys in them: none but root and the daemon's own user can read or change one, nor put another in its place.
#pragma once

#include <filesystem>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::peer {

// EACCES, with the reason: the file or its folder is not as it must be.
Result<> check_key_file(const std::filesystem::path& path);
// A new file that only its owner can read. EEXIST: never overwrites, nor follows a link that somebody has put there.
Result<> write_key_file(const std::filesystem::path& path, ByteView bytes);

}  // namespace sockmi::peer
