// Memory for secret bytes: locked and excluded from core dumps while in use, and wiped
// when it is released.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sockmi {

// Allocates a block: locks its pages (best effort: RLIMIT_MEMLOCK may forbid it) and
// excludes them from dumps (madvise MADV_DONTDUMP). secret_free() wipes the block before
// it releases it.
void* secret_alloc(std::size_t size);
void secret_free(void* block, std::size_t size) noexcept;

template <class T>
struct SecretAllocator {
  using value_type = T;
  SecretAllocator() = default;
  template <class U>
  SecretAllocator(const SecretAllocator<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(secret_alloc(n * sizeof(T))); }
  void deallocate(T* p, std::size_t n) noexcept { secret_free(p, n * sizeof(T)); }
  friend bool operator==(const SecretAllocator&, const SecretAllocator&) { return true; }
};

using Secret = std::vector<std::uint8_t, SecretAllocator<std::uint8_t>>;
using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;

}  // namespace sockmi
