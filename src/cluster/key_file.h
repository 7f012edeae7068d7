// Checks and writes files that contain keys. Only root and the daemon's own user may be
// able to read or change such a file, or to replace it by another one.
#pragma once

#include <filesystem>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::cluster {

// Checks owner, mode and folder of a key file. Errors: EACCES if the file or its folder
// is not protected, with the reason as text; errno of stat(2).
Result<> check_key_file(const std::filesystem::path& path);
// Writes all bytes to an open file. `path` is for the error's text.
Result<> write_all(int file, const std::filesystem::path& path, ByteView bytes);

}  // namespace sockmi::cluster
