// Makes text of others (peers, hosts, applications) fit for a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sockmi {

// Returns the size of the UTF-8 character at the beginning of `text`, which is not empty;
// 0 if these bytes are no character, or one that must not reach a terminal: a control, a
// separator of lines, or what reverses the direction of text.
std::size_t printable_size(std::string_view text);

// Returns `text` with \xNN for each byte that is not part of a printable character.
std::string printable(std::string_view text);

}  // namespace sockmi
