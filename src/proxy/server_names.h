// Finds what belongs to the server name that a client asks for: under the name itself, or
// under *.REST, where the star stands for one label (RFC 6125, section 6.4.3).
#pragma once

#include <algorithm>
#include <cctype>
#include <map>
#include <string>
#include <string_view>

namespace sockmi::proxy {

// Names are compared in small letters.
inline std::string small_letters(std::string_view name) {
  std::string out(name);
  std::ranges::transform(out, out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

template <class Value>
class ServerNames {
 public:
  // Returns false if the name has a value already.
  bool add(std::string_view name, Value value) {
    return values_.emplace(small_letters(name), std::move(value)).second;
  }

  // Returns nullptr if there is none.
  const Value* find(std::string_view name) const {
    const std::string small = small_letters(name);
    if (const auto exact = values_.find(small); exact != values_.end()) return &exact->second;
    const auto dot = small.find('.');
    if (dot == std::string::npos || dot == 0) return nullptr;
    const auto wild = values_.find("*" + small.substr(dot));
    return wild == values_.end() ? nullptr : &wild->second;
  }

 private:
  std::map<std::string, Value> values_;
};

}  // namespace sockmi::proxy
