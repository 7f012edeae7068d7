#include "drain/drain_state.h"

#include <fstream>

#include <gtest/gtest.h>

#include "unit/temporary_folder.h"

namespace sockmi::daemon {
namespace {

using std::chrono::milliseconds;

DrainState some_state() {
  return {.phase = DrainPhase::Running,
          .order = {.services = {"web", "a \"b\"\n"},
                    .hosts = {"B"},
                    .deadline = WallTime(milliseconds(1'800'000'000'123)),
                    .rate = 50,
                    .on_stuck = OnStuck::Cut,
                    .boot = "5ca1ab1e"},
          .began = WallTime(milliseconds(1'700'000'000'000)),
          .ended = {},
          .reason = "cannot list the connections: EIO",
          .moved = {{"B", 7}},
          .failures = {{"import queue is full (ENOBUFS)", 3}},
          .cut = 4};
}

class DrainFileTest : public testing::Test {
 protected:
  void write(const std::string& text) { std::ofstream(file_.path()) << text; }

  test::TemporaryFolder folder_;
  DrainFile file_{folder_.path};
};

TEST_F(DrainFileTest, AStateIsReadAsItWasWritten) {
  ASSERT_TRUE(file_.store(some_state()));

  EXPECT_EQ(file_.load().value(), some_state());
}

TEST_F(DrainFileTest, EveryPhaseIsReadAsItWasWritten) {
  for (const auto phase : {DrainPhase::Running, DrainPhase::Done, DrainPhase::Incomplete,
                           DrainPhase::Deadline, DrainPhase::Stopped}) {
    DrainState state;
    state.phase = phase;
    ASSERT_TRUE(file_.store(state));
    EXPECT_EQ(file_.load().value().phase, phase) << to_string(phase);
  }
}

TEST_F(DrainFileTest, WithoutAFileTheHostDoesNotDrain) {
  EXPECT_EQ(file_.load().value(), DrainState());
}

TEST_F(DrainFileTest, TheFileEndsWithTheCordon) {
  ASSERT_TRUE(file_.store(some_state()));
  ASSERT_TRUE(file_.store({}));

  EXPECT_FALSE(std::filesystem::exists(file_.path()));
  EXPECT_TRUE(file_.store({}));
}

TEST_F(DrainFileTest, ADamagedFileIsAnError) {
  const std::string whole = text_of(some_state());
  for (std::size_t size = 0; size + 2 < whole.size(); ++size) {
    write(whole.substr(0, size));
    const auto loaded = file_.load();
    ASSERT_FALSE(loaded) << size;
    EXPECT_EQ(loaded.error().code, EBADMSG) << size;
  }
  for (const char* text : {"null", "[]", "{}", R"({"phase": 7})", "\xff\xfe"}) {
    write(text);
    EXPECT_FALSE(file_.load()) << text;
  }
}

TEST_F(DrainFileTest, AnUnknownPhaseIsAnError) {
  std::string text = text_of(some_state());
  text.replace(text.find("running"), 7, "dancing");
  write(text);

  EXPECT_FALSE(file_.load());
}

TEST_F(DrainFileTest, AFileThatCannotBeWrittenIsAnErrorAndKeepsTheFormerOne) {
  ASSERT_TRUE(file_.store(some_state()));
  std::filesystem::create_directory(file_.path().string() + ".new");
  DrainState other = some_state();
  other.phase = DrainPhase::Stopped;

  EXPECT_FALSE(file_.store(other));

  EXPECT_EQ(file_.load().value().phase, DrainPhase::Running);
}

TEST(DrainStateTest, TheNumberOfReasonsIsBounded) {
  DrainState state;
  for (int i = 0; i < 1000; ++i)
    state.count_failure("reason " + std::to_string(i));
  state.count_failure("reason 0");

  EXPECT_LE(state.failures.size(), kMostReasons + 1);
  EXPECT_EQ(state.failures.at("reason 0"), 2u);
}

}  // namespace
}  // namespace sockmi::daemon
