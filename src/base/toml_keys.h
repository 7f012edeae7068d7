// Reads values of a TOML file into structures. A map has the setter of each key, so that
// a configuration is one table in its source, and what is not in it is an error.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <toml++/toml.h>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::toml_keys {

inline constexpr std::size_t kLargestFile = 64u << 10;  // bytes
// toml++ destroys a table recursively, and the key a.b.c makes tables in tables: 20,000
// dots in keys exhaust the stack. The largest file full of addresses has fewer than 8192.
inline constexpr std::ptrdiff_t kMostDots = 8192;

// Reads a whole file. Errors: those of open(2) and read(2); EINVAL if it is too large.
inline Result<std::string> read_file(const std::string& path) {
  const unique_fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno("cannot open " + path);
  std::string text(kLargestFile + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + size, text.size() - size);
    if (got < 0) return fail_errno("cannot read " + path);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > kLargestFile) return fail(EINVAL, "{}: larger than {} bytes", path, kLargestFile);
  text.resize(size);
  return text;
}

// Parses the text of a file. `name` is the file's in errors. Errors: EINVAL, with the
// line.
inline Result<toml::table> parse(std::string_view text, const std::string& name) {
  if (std::ranges::count(text, '.') > kMostDots)
    return fail(EINVAL, "{}: more than {} dots", name, kMostDots);
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    return fail(EINVAL, "{}:{}: {}", name, error.source().begin.line, error.description());
  }
}

// Reads the value of a key into the configuration, or into a part of it.
template <class Target>
using Setter = std::function<Result<>(Target&, const toml::node&)>;

template <class T>
Result<T> value(const toml::node& node, const char* kind) {
  if (const auto read = node.value_exact<T>()) return *read;
  return fail(EINVAL, "expected a {}", kind);
}

// Makes the setter of each kind of key. `field` returns the field that the value belongs
// in, `parse` the value of a string.
template <class Target, class Parse, class Field>
Setter<Target> text(Parse parse, Field field) {
  return [=](Target& target, const toml::node& node) -> Result<> {
    TRY_LET(read, value<std::string>(node, "string"));
    TRY_LET(parsed, parse(read));
    field(target) = std::move(parsed);
    return {};
  };
}
template <class Target, class Parse, class Field>
Setter<Target> list(Parse parse, Field field) {
  return [=](Target& target, const toml::node& node) -> Result<> {
    const auto* array = node.as_array();
    if (!array) return fail(EINVAL, "expected a list of strings");
    std::vector<typename decltype(parse(std::string()))::value_type> out;
    for (const auto& each : *array) {
      TRY_LET(read, value<std::string>(each, "list of strings"));
      TRY_LET(parsed, parse(read));
      out.push_back(std::move(parsed));
    }
    field(target) = std::move(out);
    return {};
  };
}
template <class Target, class Field>
Setter<Target> number(std::int64_t least, std::int64_t most, Field field) {
  return [=](Target& target, const toml::node& node) -> Result<> {
    TRY_LET(read, value<std::int64_t>(node, "number"));
    if (read < least || read > most) return fail(EINVAL, "expected {} to {}", least, most);
    auto& into = field(target);
    into = static_cast<std::remove_reference_t<decltype(into)>>(read);
    return {};
  };
}
template <class Target, class Field>
Setter<Target> yes_no(Field field) {
  return [=](Target& target, const toml::node& node) -> Result<> {
    TRY_LET(read, value<bool>(node, "true or false"));
    field(target) = read;
    return {};
  };
}

template <class Target>
using Keys = std::map<std::string, Setter<Target>>;

// Returns a function that finds a field of the structure itself.
template <class Target, class Member>
auto own(Member Target::*member) {
  return [=](Target& target) -> Member& {
    return target.*member;
  };
}

// Sets what each key of `table` says; `prefix` is for errors. Keys of `elsewhere` are
// left to the caller. Errors: EINVAL, with line and name of the key.
template <class Target>
Result<> read_keys(const toml::table& table, const std::string& prefix, const Keys<Target>& keys,
                   Target& target, std::initializer_list<std::string_view> elsewhere = {}) {
  for (const auto& [key, node] : table) {
    if (std::find(elsewhere.begin(), elsewhere.end(), key.str()) != elsewhere.end()) continue;
    const auto line = node.source().begin.line;
    const auto setter = keys.find(std::string(key.str()));
    if (setter == keys.end())
      return fail(EINVAL, "line {}: {}{}: unknown key", line, prefix, key.str());
    if (auto set = setter->second(target, node); !set)
      return fail(EINVAL, "line {}: {}{}: {}", line, prefix, key.str(), set.error().reason);
  }
  return {};
}

// The parse function of a string that may be any.
inline Result<std::string> any_text(const std::string& text) {
  return text;
}

}  // namespace sockmi::toml_keys
