#include "base/boot_id.h"

#include <fstream>

namespace sockmi {
namespace {
constexpr std::size_t kLongest = 64;  // bytes; a UUID has 36
}

std::string boot_id(const std::filesystem::path& file) {
  std::string id;
  std::ifstream(file) >> id;
  return id.size() <= kLongest ? id : std::string();
}

}  // namespace sockmi
