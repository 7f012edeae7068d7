// Feeds libFuzzer, whose own coverage is that of clang, with the coverage of code that
// g++ compiles.
//
// The clang of Debian 12 cannot compile this project (std::expected needs a destructor
// that depends on a constraint: P0848, clang 16), and the shipped programs are compiled
// by g++. So g++ compiles, with -fsanitize-coverage=trace-pc, and only libFuzzer's
// runtime comes from clang. The runtime ignores trace-pc, but it accepts any counters in
// a section of this name. The linker's --wrap sends g++'s calls here. Comparisons
// (trace-cmp) go to libFuzzer directly.
#include <cstdint>

namespace {
__attribute__((section("__libfuzzer_extra_counters"))) std::uint8_t counters[1 << 16];
}

extern "C" void __wrap___sanitizer_cov_trace_pc() {
  const auto at = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  ++counters[(at ^ at >> 16) % sizeof counters];
}

// g++ also reports comparisons of floating-point numbers, which libFuzzer does not use.
extern "C" void __sanitizer_cov_trace_cmpf(float, float) {}
extern "C" void __sanitizer_cov_trace_cmpd(double, double) {}
