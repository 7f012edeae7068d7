// A key or secret of a connection, stored in place: it allocates nothing and is wiped
// when it is destroyed. Objects that contain one are allocated in locked memory.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include <openssl/crypto.h>

#include "base/secret.h"

namespace sockmi::tls {

class Key {
 public:
  static constexpr std::size_t kLargest = 48;  // SHA-384; TLS 1.2's master secret
  Key() = default;
  explicit Key(ByteView bytes)
      : size_(static_cast<std::uint8_t>(bytes.size() <= kLargest ? bytes.size() : 0)) {
    std::copy_n(bytes.begin(), size_, bytes_.begin());
  }
  Key(const Key&) = default;
  Key& operator=(const Key&) = default;
  ~Key() { OPENSSL_cleanse(bytes_.data(), bytes_.size()); }

  ByteView view() const { return {bytes_.data(), size_}; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  friend bool operator==(const Key& a, ByteView b) {
    return a.size_ == b.size() && std::ranges::equal(a.view(), b);
  }
  friend bool operator==(const Key& a, const Key& b) { return a == b.view(); }

 private:
  std::uint8_t size_ = 0;
  std::array<std::uint8_t, kLargest> bytes_{};
};

// Hash-table key for a secret. Secrets are uniformly random, so their own first 16 bytes
// serve as the hash.
struct Tag {
  std::uint64_t high = 0, low = 0;
  Tag() = default;
  explicit Tag(ByteView key, std::uint64_t kind = 0) {
    std::uint64_t parts[2] = {};
    if (!key.empty()) std::memcpy(parts, key.data(), std::min(key.size(), sizeof parts));
    high = parts[0] ^ kind;
    low = parts[1];
  }
  bool operator==(const Tag&) const = default;
  struct Hash {
    std::size_t operator()(const Tag& tag) const { return tag.high; }
  };
};

}  // namespace sockmi::tls
