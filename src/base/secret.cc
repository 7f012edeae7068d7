// Page locking is per page and does not nest: two secrets that share a page, and one munlock, would unlock both. So blocks
// of a page and more get pages of their own; small ones come from slabs that stay locked for the life of the process.
#include "base/secret.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <mutex>
#include <new>

#include <openssl/crypto.h>

namespace sockmi {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kSlab = 16 * kPage;
constexpr std::size_t kSmallest = 32;

void* map_locked(std::size_t size) {
  void* p = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  (void)::mlock(p, size);  // RLIMIT_MEMLOCK of an ordinary user may be small: then the pages are only kept from dumps
  (void)::madvise(p, size, MADV_DONTDUMP);
  return p;
}

std::size_t whole_pages(std::size_t size) { return (size + kPage - 1) / kPage * kPage; }

struct FreeBlock {
  FreeBlock* next;
};

class SmallBlocks {
 public:
  void* take(std::size_t size) {
    std::lock_guard lock(mutex_);
    FreeBlock*& head = list(size);
    if (!head) refill(head, size);
    FreeBlock* block = head;
    head = block->next;
    block->next = nullptr;
    return block;
  }
  void give(void* p, std::size_t size) {
    std::lock_guard lock(mutex_);
    FreeBlock*& head = list(size);
    head = new (p) FreeBlock{head};
  }
  static std::size_t rounded(std::size_t size) { return std::bit_ceil(std::max(size, kSmallest)); }

 private:
  FreeBlock*& list(std::size_t size) { return lists_[std::countr_zero(size)]; }
  void refill(FreeBlock*& head, std::size_t size) {
    auto* slab = static_cast<std::byte*>(map_locked(kSlab));
    for (std::size_t at = 0; at + size <= kSlab; at += size) head = new (slab + at) FreeBlock{head};
  }
  std::mutex mutex_;
  std::array<FreeBlock*, 16> lists_{};
};

// Never destroyed: secrets with static storage may be freed after any destructor of ours.
SmallBlocks& small_blocks() {
  static auto* blocks = new SmallBlocks;
  return *blocks;
}

}  // namespace

void* secret_alloc(std::size_t size) {
  if (size >= kPage) return map_locked(whole_pages(size));
  return small_blocks().take(SmallBlocks::rounded(size));
}

void secret_free(void* block, std::size_t size) noexcept {
  if (!block) return;
  OPENSSL_cleanse(block, size);
  if (size >= kPage)
    ::munmap(block, whole_pages(size));
  else
    small_blocks().give(block, SmallBlocks::rounded(size));
}

}  // namespace sockmi
