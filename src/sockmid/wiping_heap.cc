// Wipes memory that the daemon returns to the heap. Images pass through vectors and
// buffers of libraries that do not handle secrets specially (FlatBuffers' objects, Asio,
// OpenSSL). Wiping here covers all of them, and code that is added later.
#include "sockmid/wiping_heap.h"

#include <malloc.h>

#include <cstdlib>
#include <new>

#include <openssl/crypto.h>

namespace {

void* take(std::size_t size) {
  for (;;) {
    if (void* block = std::malloc(size ? size : 1)) return block;
    const auto handler = std::get_new_handler();
    if (!handler) throw std::bad_alloc();
    handler();
  }
}

void* take_aligned(std::size_t size, std::align_val_t alignment) {
  const auto step = static_cast<std::size_t>(alignment);
  void* block = std::aligned_alloc(step, (size + step - 1) / step * step);
  if (!block) throw std::bad_alloc();
  return block;
}

void give(void* block) noexcept {
  if (!block) return;
  OPENSSL_cleanse(block, ::malloc_usable_size(block));
  std::free(block);
}

void* openssl_take(std::size_t size, const char*, int) {
  return std::malloc(size);
}
void openssl_give(void* block, const char*, int) {
  give(block);
}

// Does not use realloc(3), which may leave the old block's contents behind.
void* openssl_resize(void* block, std::size_t size, const char*, int) {
  if (!block) return std::malloc(size);
  if (size == 0) return give(block), nullptr;
  const std::size_t before = ::malloc_usable_size(block);
  if (size <= before) return block;
  void* larger = std::malloc(size);
  if (!larger) return nullptr;
  __builtin_memcpy(larger, block, before);
  give(block);
  return larger;
}

}  // namespace

void* operator new(std::size_t size) {
  return take(size);
}
void* operator new[](std::size_t size) {
  return take(size);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return take_aligned(size, alignment);
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return take_aligned(size, alignment);
}
void operator delete(void* block) noexcept {
  give(block);
}
void operator delete[](void* block) noexcept {
  give(block);
}
void operator delete(void* block, std::size_t) noexcept {
  give(block);
}
void operator delete[](void* block, std::size_t) noexcept {
  give(block);
}
void operator delete(void* block, std::align_val_t) noexcept {
  give(block);
}
void operator delete[](void* block, std::align_val_t) noexcept {
  give(block);
}
void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
  give(block);
}
void operator delete[](void* block, std::size_t, std::align_val_t) noexcept {
  give(block);
}

namespace sockmi::sockmid {

bool wipe_openssl_heap() {
  return CRYPTO_set_mem_functions(openssl_take, openssl_resize, openssl_give) == 1;
}

}  // namespace sockmi::sockmid
