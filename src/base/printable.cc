#include "base/printable.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include <fmt/core.h>

namespace sockmi {
namespace {

// C0 and C1 controls, line separators, and what reverses the direction of text.
bool is_control(char32_t character) {
  return character < 0x20 || (character >= 0x7f && character < 0xa0) ||
         (character >= 0x2028 && character <= 0x202e) ||
         (character >= 0x2066 && character <= 0x2069);
}

}  // namespace

std::size_t printable_size(std::string_view text) {
  static constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const auto first = static_cast<std::uint8_t>(text[0]);
  const auto size = static_cast<std::size_t>(std::max(1, std::countl_one(first)));
  if (first < 0x80) return is_control(first) ? 0 : 1;
  if (size < 2 || size > 4 || size > text.size()) return 0;
  char32_t character = first & (0x7f >> size);
  for (const char next : text.substr(1, size - 1)) {
    if ((next & 0xc0) != 0x80) return 0;
    character = character << 6 | (next & 0x3f);
  }
  const bool is_surrogate = character >= 0xd800 && character < 0xe000;
  const bool is_valid = character >= kSmallest[size] && character <= 0x10ffff && !is_surrogate;
  return is_valid && !is_control(character) ? size : 0;
}

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t size = printable_size(text);
    out += size > 0 ? std::string(text.substr(0, size))
                    : fmt::format("\\x{:02x}", static_cast<std::uint8_t>(text[0]));
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return out;
}

}  // namespace sockmi
