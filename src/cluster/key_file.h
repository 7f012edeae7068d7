// Files with keys in them: none but root and the daemon's own user can read or change one, nor put another in its place.
#pragma once

#include <filesystem>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::cluster {

// EACCES, with the reason: the file or its folder is not as it must be.
Result<> check_key_file(const std::filesystem::path& path);
// To an open file; `path`: for the error.
Result<> write_all(int file, const std::filesystem::path& path, ByteView bytes);

}  // namespace sockmi::cluster
