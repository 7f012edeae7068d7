// Writes the log: each event is one line `event=name key=value …` on standard error, and
// holds no secret. There is one logger per process.
//
//   log::warn("redirect_remove_failed", {{"connection", tuple}, {"error", error}});
//
// A name is a literal, `noun_verb`; docs/log-events.md lists all names with their keys.
// A value may come from a peer, another host or an application. So this code alone writes
// values: what is not a plain word is quoted and escaped, and no value can look like
// another key or another line. A long value is cut.
//
// Values refer to their objects, and are formatted only if the line is written: a line
// whose level is off costs a few stores.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

namespace sockmi::log {

// A quoted value has at most this many bytes, and a note if something is missing.
inline constexpr std::size_t kMaxValueBytes = 1000;

template <class T>
concept Text = std::convertible_to<const T&, std::string_view>;

template <class T>
concept HasToString = requires(const T& value) {
  { to_string(value) } -> std::same_as<std::string>;
};

// The value of a key: text, a bool, an integer, a duration, or anything with to_string(),
// such as an address or an Error. Borrows its object.
class Value {
 public:
  template <Text T>
  Value(const T& text) : value_(std::string_view(text)) {}
  template <std::same_as<bool> T>
  Value(T value) : value_(value) {}
  template <std::signed_integral T>
  Value(T value) : value_(std::int64_t{value}) {}
  template <std::unsigned_integral T>
  requires(!std::same_as<T, bool>) Value(T value) : value_(std::uint64_t{value}) {}
  template <class Rep, class Period>
  Value(std::chrono::duration<Rep, Period> value)
      : value_(std::chrono::duration_cast<std::chrono::microseconds>(value)) {}
  template <HasToString T>
  Value(const T& value)
      : value_(Object{&value, [](const void* object) {
                        return to_string(*static_cast<const T*>(object));
                      }}) {}

  void append_to(std::string& line) const;

 private:
  struct Object {
    const void* object;
    std::string (*text_of)(const void*);
  };
  std::variant<std::string_view, bool, std::int64_t, std::uint64_t, std::chrono::microseconds,
               Object>
      value_;
};

struct Field {
  std::string_view key;
  Value value;
};
using Fields = std::initializer_list<Field>;

// Writes a line, if the level is on.
void debug(std::string_view event, Fields fields = {});
void info(std::string_view event, Fields fields = {});
void warn(std::string_view event, Fields fields = {});
void error(std::string_view event, Fields fields = {});
void critical(std::string_view event, Fields fields = {});

// Returns the text of a line, without time and level.
std::string line_of(std::string_view event, Fields fields);

}  // namespace sockmi::log
