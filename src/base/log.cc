#include "base/log.h"

#include <algorithm>

#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include "base/printable.h"

namespace sockmi::log {
namespace {

// Takes one character from `text`, and returns what stands for it between quotes.
std::string take_escaped(std::string_view& text) {
  const std::size_t size = printable_size(text);
  const std::string_view taken = text.substr(0, std::max<std::size_t>(size, 1));
  text.remove_prefix(taken.size());
  switch (taken[0]) {
    case '\n': return "\\n";
    case '\r': return "\\r";
    case '\t': return "\\t";
    case '"': return "\\\"";
    case '\\': return "\\\\";
  }
  return size > 0 ? std::string(taken)
                  : fmt::format("\\x{:02x}", static_cast<std::uint8_t>(taken[0]));
}

bool is_word(std::string_view text) {
  return !text.empty() && text.size() <= kMaxValueBytes && std::ranges::all_of(text, [](char c) {
    return c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '=';
  });
}

void append_text(std::string& line, std::string_view text) {
  if (is_word(text)) {
    line += text;
    return;
  }
  line += '"';
  for (std::size_t used = 0; !text.empty();) {
    std::string_view rest = text;
    const std::string character = take_escaped(rest);
    used += character.size();
    if (used > kMaxValueBytes) break;
    line += character;
    text = rest;
  }
  if (!text.empty()) line += fmt::format(" [{} more bytes]", text.size());
  line += '"';
}

std::string text_of(std::chrono::microseconds time) {
  const auto us = time.count();
  if (us % 1'000 != 0) return fmt::format("{}us", us);
  if (us % 1'000'000 != 0) return fmt::format("{}ms", us / 1'000);
  return fmt::format("{}s", us / 1'000'000);
}

void write(spdlog::level::level_enum level, std::string_view event, Fields fields) {
  if (spdlog::should_log(level)) spdlog::log(level, line_of(event, fields));
}

}  // namespace

void Value::append_to(std::string& line) const {
  if (const auto* text = std::get_if<std::string_view>(&value_)) {
    append_text(line, *text);
  } else if (const auto* flag = std::get_if<bool>(&value_)) {
    line += *flag ? "true" : "false";
  } else if (const auto* number = std::get_if<std::int64_t>(&value_)) {
    line += fmt::to_string(*number);
  } else if (const auto* natural = std::get_if<std::uint64_t>(&value_)) {
    line += fmt::to_string(*natural);
  } else if (const auto* time = std::get_if<std::chrono::microseconds>(&value_)) {
    line += text_of(*time);
  } else if (const auto* object = std::get_if<Object>(&value_)) {
    append_text(line, object->text_of(object->object));
  }
}

std::string line_of(std::string_view event, Fields fields) {
  std::string line = fmt::format("event={}", event);
  for (const auto& [key, value] : fields) {
    line.append(" ").append(key).append("=");
    value.append_to(line);
  }
  return line;
}

void debug(std::string_view event, Fields fields) {
  write(spdlog::level::debug, event, fields);
}

void info(std::string_view event, Fields fields) {
  write(spdlog::level::info, event, fields);
}

void warn(std::string_view event, Fields fields) {
  write(spdlog::level::warn, event, fields);
}

void error(std::string_view event, Fields fields) {
  write(spdlog::level::err, event, fields);
}

void critical(std::string_view event, Fields fields) {
  write(spdlog::level::critical, event, fields);
}

}  // namespace sockmi::log
