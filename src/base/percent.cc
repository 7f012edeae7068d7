#include "base/percent.h"

#include <charconv>
#include <iterator>

#include <fmt/format.h>

namespace sockmi {

std::string percent_encode(std::string_view text, bool (*is_plain)(unsigned char)) {
  std::string out;
  for (const unsigned char c : text) {
    if (is_plain(c)) {
      out += static_cast<char>(c);
    } else {
      fmt::format_to(std::back_inserter(out), "%{:02x}", c);
    }
  }
  return out;
}

std::string percent_decode(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    unsigned char decoded = 0;
    const bool is_coded = text[0] == '%' && text.size() >= 3 &&
                          std::from_chars(&text[1], &text[1] + 2, decoded, 16).ptr == &text[1] + 2;
    out += is_coded ? static_cast<char>(decoded) : text[0];
    text.remove_prefix(is_coded ? 3 : 1);
  }
  return out;
}

}  // namespace sockmi
