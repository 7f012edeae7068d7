// A seal around an image: what was cut, flipped or made by somebody else is refused before anything looks inside.
// Not a signature: images travel on authenticated lines, and whoever can write one into a program's memory needs no forgery.
#pragma once

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::wire {

inline constexpr std::uint16_t kTlsKind = 1;
inline constexpr std::uint16_t kTlsVersion = 1;

Secret seal(std::uint16_t kind, std::uint16_t version, ByteView body);
// The body, or EBADMSG. ENOTSUP: a seal of ours, of a version that this build does not read.
Result<Secret> unseal(std::uint16_t kind, std::uint16_t version, ByteView sealed);

}  // namespace sockmi::wire
