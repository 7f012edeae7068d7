// Tests the barrier with the machine's own switch and the kernel's own notices. Where
// that is not permitted, the tests say so and are skipped.
#include <fcntl.h>
#include <sys/file.h>

#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "steer/rcu_barrier.h"

namespace sockmi::steer {
namespace {

constexpr const char* kSwitch = "/sys/kernel/rcu_expedited";

std::string read_switch() {
  std::string text;
  std::ifstream(kSwitch) >> text;
  return text;
}

bool write_switch(const char* text) {
  return bool(std::ofstream(kSwitch) << text << std::flush);
}

TEST(RcuBarrier, RestoresTheExpediteSwitch) {
  const std::string before = read_switch();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([] {
      for (int n = 0; n < 20; ++n)
        EXPECT_TRUE(barrier());
    });
  for (auto& thread : threads)
    thread.join();
  EXPECT_EQ(read_switch(), before);
}

TEST(RcuBarrier, RepairsTheSwitchThatAKilledProcessLeft) {
  if (std::string(barrier_form()) != "expedited" || read_switch() != "0" || !write_switch("29547"))
    GTEST_SKIP() << "not allowed to expedite here";
  EXPECT_TRUE(barrier());
  EXPECT_EQ(read_switch(), "0");
}

TEST(RcuBarrier, DoesNotWaitForALockOfAnotherProcess) {
  const unique_fd file(::open(kSwitch, O_RDONLY | O_CLOEXEC));
  if (!file || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0)
    GTEST_SKIP() << "no such switch here, or it is in use";
  const std::string before = read_switch();
  EXPECT_TRUE(barrier());
  EXPECT_EQ(read_switch(), before);
}

}  // namespace
}  // namespace sockmi::steer
