// Locking works per page and does not nest: if two secrets shared a page, one munlock
// would unlock both. So blocks of a page and more get pages of their own. Small blocks
// come from slabs that stay locked as long as the process lives. Mapping and locking a
// large block costs half a microsecond per page, several times the cost of the work done
// with it. So some large blocks are wiped and kept for reuse.
#include "base/secret.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <mutex>
#include <new>

#include <openssl/crypto.h>
#include <boost/container/static_vector.hpp>

#include "base/unlocked.h"

namespace sockmi {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kSlab = 16 * kPage;
constexpr std::size_t kStep = 16, kSteps = 64;
constexpr std::size_t kMostKept = 32u << 20;

std::atomic<std::size_t> unlocked{0};

void* map_locked(std::size_t size) {
  void* p = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  // An ordinary user's RLIMIT_MEMLOCK may be too small. Then the pages are only excluded
  // from dumps.
  if (::mlock(p, size) != 0) unlocked += size;
  (void)::madvise(p, size, MADV_DONTDUMP);
  return p;
}

// Rounds to one of few sizes, so that a released block fits a later request. The steps
// are small for small sizes: there may be very many small blocks, and each should waste
// little.
std::size_t rounded(std::size_t size) {
  return size <= kStep * kSteps ? std::max<std::size_t>(1, (size + kStep - 1) / kStep) * kStep
                                : std::bit_ceil(size);
}

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

 private:
  FreeBlock*& list(std::size_t size) {
    return lists_[size <= kStep * kSteps ? size / kStep : kSteps + std::countr_zero(size)];
  }
  void refill(FreeBlock*& head, std::size_t size) {
    auto* slab = static_cast<std::byte*>(map_locked(kSlab));
    for (std::size_t at = 0; at + size <= kSlab; at += size)
      head = new (slab + at) FreeBlock{head};
  }
  std::mutex mutex_;
  std::array<FreeBlock*, kSteps + 16> lists_{};
};

class LargeBlocks {
 public:
  void* take(std::size_t size) {
    {
      std::lock_guard lock(mutex_);
      auto& kept = kept_[std::countr_zero(size)];
      if (!kept.empty()) {
        void* block = kept.back();
        kept.pop_back();
        total_ -= size;
        return block;
      }
    }
    return map_locked(size);
  }
  void give(void* p, std::size_t size) noexcept {
    if (size <= kMostKept) {
      std::lock_guard lock(mutex_);
      auto& kept = kept_[std::countr_zero(size)];
      if (total_ + size <= kMostKept && kept.size() < kept.capacity()) {
        kept.push_back(p);
        total_ += size;
        return;
      }
    }
    ::munmap(p, size);
  }

 private:
  std::mutex mutex_;
  std::array<boost::container::static_vector<void*, 16>, 64> kept_;
  std::size_t total_ = 0;
};

// Never destroyed, because secrets with static storage may be freed after any destructor
// of ours.
struct Blocks {
  SmallBlocks small;
  LargeBlocks large;
};
Blocks& blocks() {
  static auto* all = new Blocks;
  return *all;
}

}  // namespace

std::size_t unlocked_secret_bytes() {
  return unlocked;
}

void* secret_alloc(std::size_t size) {
  const std::size_t whole = rounded(size);
  return whole >= kPage ? blocks().large.take(whole) : blocks().small.take(whole);
}

void secret_free(void* block, std::size_t size) noexcept {
  if (!block) return;
  OPENSSL_cleanse(block, size);
  const std::size_t whole = rounded(size);
  whole >= kPage ? blocks().large.give(block, whole) : blocks().small.give(block, whole);
}

}  // namespace sockmi
