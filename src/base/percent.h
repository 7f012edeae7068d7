// Percent coding of text (RFC 3986, section 2.1).
#pragma once

#include <string>
#include <string_view>

namespace sockmi {

// Writes "%" and two hexadecimal digits for each character for which `is_plain` is false.
std::string percent_encode(std::string_view text, bool (*is_plain)(unsigned char));
// Leaves "%" as it is where two hexadecimal digits do not follow.
std::string percent_decode(std::string_view text);

}  // namespace sockmi
