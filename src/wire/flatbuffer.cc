#include "wire/flatbuffer.h"

namespace sockmi::wire {
namespace {

const std::uint8_t* follow(const std::uint8_t* at) {
  return at + flatbuffers::ReadScalar<flatbuffers::uoffset_t>(at);
}

}  // namespace

bool has_unknown_fields(const std::uint8_t* bytes, const flatbuffers::TypeTable& type) {
  const auto* table = reinterpret_cast<const flatbuffers::Table*>(bytes);
  const std::size_t slots_end = flatbuffers::ReadScalar<flatbuffers::voffset_t>(table->GetVTable());
  const auto slot = [](std::size_t field) {
    return flatbuffers::FieldIndexToOffset(static_cast<flatbuffers::voffset_t>(field));
  };
  for (std::size_t at = slot(type.num_elems); at < slots_end; at += sizeof(flatbuffers::voffset_t))
    if (table->GetOptionalFieldOffset(static_cast<flatbuffers::voffset_t>(at))) return true;
  for (std::size_t i = 0; i < type.num_elems; ++i) {
    const flatbuffers::TypeCode code = type.type_codes[i];
    const auto offset = table->GetOptionalFieldOffset(slot(i));
    if (!offset || code.sequence_ref < 0) continue;
    const flatbuffers::TypeTable& inner = *type.type_refs[code.sequence_ref]();
    if (inner.st != flatbuffers::ST_TABLE) continue;  // a struct cannot be extended
    const std::uint8_t* at = follow(bytes + offset);
    if (!code.is_repeating) {
      if (has_unknown_fields(at, inner)) return true;
      continue;
    }
    const auto count = flatbuffers::ReadScalar<flatbuffers::uoffset_t>(at);
    for (std::size_t n = 0; n < count; ++n) {
      if (has_unknown_fields(follow(at + sizeof(flatbuffers::uoffset_t) * (n + 1)), inner))
        return true;
    }
  }
  return false;
}

}  // namespace sockmi::wire
