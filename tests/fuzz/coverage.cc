// Coverage of g++'s code for libFuzzer, whose own is clang's.
//
// The clang of Debian 12 can not compile this project (its std::expected needs a destructor that depends on a constraint: P0848, clang 16), and
// what g++ makes is what ships. So g++ compiles, with -fsanitize-coverage=trace-pc, and only libFuzzer's runtime is clang's. That ignores
// trace-pc; but it takes any counters in a section of this name. The linker's --wrap sends g++'s calls here. Comparisons (trace-cmp) go to
// libFuzzer as they are.
#include <cstdint>

namespace {
__attribute__((section("__libfuzzer_extra_counters"))) std::uint8_t counters[1 << 16];
}

extern "C" void __wrap___sanitizer_cov_trace_pc() {
  const auto at = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  ++counters[(at ^ at >> 16) % sizeof counters];
}

// g++ tells of comparisons of floating numbers too; libFuzzer does not ask for them.
extern "C" void __sanitizer_cov_trace_cmpf(float, float) {}
extern "C" void __sanitizer_cov_trace_cmpd(double, double) {}
