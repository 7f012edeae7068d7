// FlatBuffers whose memory is wiped, and functions that verify a buffer before it is
// read.
#pragma once

#include <flatbuffers/flatbuffers.h>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::wire {

class WipingAllocator : public flatbuffers::Allocator {
 public:
  std::uint8_t* allocate(std::size_t size) override {
    return static_cast<std::uint8_t*>(secret_alloc(size));
  }
  void deallocate(std::uint8_t* p, std::size_t size) override { secret_free(p, size); }
};

// A builder that leaves none of its data in freed memory.
class WipingBuilder : public flatbuffers::FlatBufferBuilder {
 public:
  explicit WipingBuilder(std::size_t expected = 1024)
      : flatbuffers::FlatBufferBuilder(expected, new WipingAllocator, true) {}
  Secret take() { return Secret(GetBufferPointer(), GetBufferPointer() + GetSize()); }
};

// Whether the table, or one below it, has fields that its schema does not name.
// FlatBuffers ignores such fields. For messages that is the way to extend them; in an
// image they are state that would be lost. The table must have been verified.
bool has_unknown_fields(const std::uint8_t* table, const flatbuffers::TypeTable& type);
template <class Table>
bool has_unknown_fields(const Table& table) {
  return has_unknown_fields(reinterpret_cast<const std::uint8_t*>(&table),
                            *Table::MiniReflectTypeTable());
}

template <class Table>
inline constexpr bool kWholeOrNot = false;
struct Tls;
template <>
inline constexpr bool kWholeOrNot<Tls> = true;

// Verifies `bytes` and returns the root table, which points into them. Errors: EBADMSG if
// they are malformed; EINVAL if they are not aligned; ENOTSUP for an image with parts
// that only a newer build knows.
template <class Table>
Result<const Table*> read(ByteView bytes) {
  // All offsets count from the start of the buffer, so it must be aligned for the largest
  // scalar.
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % 8 != 0)
    return fail(EINVAL, "unaligned buffer");
  flatbuffers::Verifier verifier(bytes.data(), bytes.size(), /*max_depth=*/16,
                                 /*max_tables=*/100'000);
  if (bytes.size() < 8 || !verifier.VerifyBuffer<Table>(nullptr))
    return fail(EBADMSG, "malformed message");
  const auto* root = flatbuffers::GetRoot<Table>(bytes.data());
  if constexpr (kWholeOrNot<Table>)
    if (has_unknown_fields(*root)) return fail(ENOTSUP, "unsupported image of a newer version");
  return root;
}

inline ByteView view(const flatbuffers::Vector<std::uint8_t>* bytes) {
  return bytes ? ByteView(bytes->data(), bytes->size()) : ByteView();
}
inline std::string string(const flatbuffers::String* text) {
  return text ? text->str() : std::string();
}
inline Secret secret(const flatbuffers::Vector<std::uint8_t>* bytes) {
  return bytes ? Secret(bytes->begin(), bytes->end()) : Secret();
}

}  // namespace sockmi::wire
