// Seals an image with a digest, so that a truncated, corrupted or foreign image is
// refused before anything reads its content. The seal is not a signature: images travel
// on authenticated control channels, and an attacker who can write an image into a
// program's memory does not need to forge one.
#pragma once

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::wire {

inline constexpr std::uint16_t kTlsKind = 1;
inline constexpr std::uint16_t kTlsVersion = 1;

Secret seal(std::uint16_t kind, std::uint16_t version, ByteView body);
// Returns the body. Errors: EBADMSG if the seal is invalid or of another kind; ENOTSUP if
// it is valid, but its version is not supported by this build.
Result<Secret> unseal(std::uint16_t kind, std::uint16_t version, ByteView sealed);

}  // namespace sockmi::wire
