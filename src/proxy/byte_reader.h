// Reads numbers and parts from bytes of others. What would be beyond the end makes the
// reader fail, once for all, and is read as 0 or nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/secret.h"

namespace sockmi::proxy {

class ByteReader {
 public:
  explicit ByteReader(ByteView bytes) : bytes_(bytes) {}

  // A big-endian number of `size` bytes, at most 8.
  std::uint64_t number(std::size_t size) {
    std::uint64_t value = 0;
    for (const std::uint8_t byte : take(size))
      value = value << 8 | byte;
    return value;
  }
  ByteView take(std::size_t size) {
    if (size > bytes_.size()) {
      failed_ = true;
      bytes_ = {};
      return {};
    }
    const auto part = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return part;
  }
  // A part with its size before it, which is a number of `size_bytes` bytes.
  ByteReader part(std::size_t size_bytes) {
    ByteReader inner(take(number(size_bytes)));
    inner.failed_ = failed_;
    return inner;
  }
  std::string text() { return std::string(bytes_.begin(), bytes_.end()); }

  std::size_t left() const { return bytes_.size(); }
  bool failed() const { return failed_; }

 private:
  ByteView bytes_;
  bool failed_ = false;
};

}  // namespace sockmi::proxy
