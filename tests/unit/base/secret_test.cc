#include "base/secret.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "base/unlocked.h"

namespace sockmi {
namespace {

// Returns the flags of the mapping that contains `p`, as smaps of proc(5) has them.
std::string flags_of(const void* p) {
  std::ifstream smaps("/proc/self/smaps");
  const auto wanted = reinterpret_cast<std::uintptr_t>(p);
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    unsigned long begin, end;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2)
      inside = begin <= wanted && wanted < end;
    if (inside && line.starts_with("VmFlags:")) return line + " ";
  }
  return "";
}

TEST(Secret, SmallBlocksAreWipedWhenFreed) {
  auto* block = static_cast<char*>(secret_alloc(100));
  std::memset(block, 'k', 100);
  secret_free(block, 100);
  // The slab still belongs to this process, so the test may read it. The first bytes link
  // the free blocks.
  EXPECT_EQ(std::count(block + sizeof(void*), block + 100, 'k'), 0);
}

// Not every user may lock memory, and the address sanitizer makes mlock(2) do nothing.
bool locking_works() {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const bool locked = ::mlock(page, 4096) == 0 && flags_of(page).find(" lo ") != std::string::npos;
  ::munmap(page, 4096);
  return locked;
}

TEST(Secret, IsLockedAndKeptOutOfDumps) {
  for (const std::size_t size : {std::size_t(40), std::size_t(5000), std::size_t(1) << 20}) {
    void* block = secret_alloc(size);
    const std::string flags = flags_of(block);
    if (flags.empty()) GTEST_SKIP() << "no VmFlags on this kernel";
    EXPECT_NE(flags.find(" dd "), std::string::npos) << size << ": " << flags;
    if (locking_works()) {
      EXPECT_NE(flags.find(" lo "), std::string::npos) << size << ": " << flags;
    }
    secret_free(block, size);
  }
}

// The test runs as an ordinary user that may not lock any memory.
TEST(Secret, CountsBytesThatCannotBeLocked) {
  if (!locking_works()) GTEST_SKIP() << "nothing is locked here, and nobody is told";
  EXPECT_EQ(unlocked_secret_bytes(), 0u);
  const auto count = [] {
    const rlimit none{.rlim_cur = 0, .rlim_max = 0};
    if (::setrlimit(RLIMIT_MEMLOCK, &none) != 0 ||
        (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0))
      ::_exit(2);
    void* block = secret_alloc(std::size_t(64) << 20);
    ::_exit(block && unlocked_secret_bytes() == std::size_t(64) << 20 ? 0 : 1);
  };
  EXPECT_EXIT(count(), testing::ExitedWithCode(0), "");
}

TEST(Secret, BlocksDoNotOverlap) {
  std::vector<Secret> all;
  for (std::size_t size = 1; size < 9000; size = size * 3 / 2 + 1)
    all.emplace_back(size, static_cast<std::uint8_t>(size));
  for (const auto& secret : all)
    EXPECT_TRUE(std::ranges::all_of(
        secret, [&](auto byte) { return byte == static_cast<std::uint8_t>(secret.size()); }));
}

}  // namespace
}  // namespace sockmi
