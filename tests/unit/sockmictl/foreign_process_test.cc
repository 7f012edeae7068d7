// Tests what happens to a process while one of its sockets is moved.
#include "sockmictl/foreign_process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <utility>

#include <gtest/gtest.h>

namespace sockmi::sockmictl {
namespace {

// A child process that sends back each byte, and ends on SIGTERM.
class ForeignProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> ends;
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    ours_.reset(ends[0]);
    unique_fd theirs(ends[1]);
    number_ = theirs.get();
    child_ = ::fork();
    if (child_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (char byte; ::read(number_, &byte, 1) == 1;)
        (void)!::write(number_, &byte, 1);
      ::_exit(0);
    }
    ASSERT_TRUE(is_echoed('a'));
  }
  void TearDown() override {
    if (child_ < 0) return;
    ::kill(child_, SIGKILL);
    end();
  }
  // Waits for the child's end. Returns its status.
  int end() {
    int status = 0;
    ::waitpid(std::exchange(child_, -1), &status, 0);
    return status;
  }

  void send(char byte) const { EXPECT_EQ(::send(ours_.get(), &byte, 1, MSG_NOSIGNAL), 1); }
  bool is_echoed(char byte) const {
    send(byte);
    char echo = 0;
    return ::recv(ours_.get(), &echo, 1, 0) == 1 && echo == byte;
  }
  char state() const {
    std::ifstream stat("/proc/" + std::to_string(child_) + "/stat");
    std::string pid, name, state;
    stat >> pid >> name >> state;
    return state.empty() ? '?' : state[0];
  }

  unique_fd ours_;
  int number_ = -1;
  pid_t child_ = -1;
};

TEST_F(ForeignProcessTest, AHeldProcessStandsStill) {
  const auto held = ForeignProcess::hold(child_);

  ASSERT_TRUE(held) << to_string(held.error());
  EXPECT_EQ(state(), 't');
}

TEST_F(ForeignProcessTest, AProcessContinuesAfterwards) {
  { ASSERT_TRUE(ForeignProcess::hold(child_)); }

  EXPECT_TRUE(is_echoed('b'));
}

TEST_F(ForeignProcessTest, ADescriptorIsDuplicated) {
  const auto held = ForeignProcess::hold(child_);
  const auto copy = held->duplicate(number_);

  ASSERT_TRUE(copy) << to_string(copy.error());
  ASSERT_EQ(::send(copy->get(), "x", 1, MSG_NOSIGNAL), 1);
  char byte = 0;
  EXPECT_EQ(::recv(ours_.get(), &byte, 1, 0), 1);
  EXPECT_EQ(byte, 'x');
}

TEST_F(ForeignProcessTest, ADescriptorThatTheProcessLacksIsRefused) {
  EXPECT_EQ(ForeignProcess::hold(child_)->duplicate(9999).error().code, EBADF);
}

TEST_F(ForeignProcessTest, ASignalIsDeliveredAfterwards) {
  {
    const auto held = ForeignProcess::hold(child_);
    ::kill(child_, SIGTERM);
    EXPECT_EQ(state(), 't');
  }

  const int status = end();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

TEST_F(ForeignProcessTest, AProcessThatHasEndedIsRefused) {
  const pid_t ended = child_;
  TearDown();

  EXPECT_EQ(ForeignProcess::hold(ended).error().code, ESRCH);
}

TEST_F(ForeignProcessTest, SignalsWaitWhileTheyAreHeld) {
  sigset_t before, held, after;
  ::sigprocmask(SIG_BLOCK, nullptr, &before);
  {
    const SignalsHeld all;
    ::sigprocmask(SIG_BLOCK, nullptr, &held);
    EXPECT_TRUE(sigismember(&held, SIGTERM) && sigismember(&held, SIGINT));
  }
  ::sigprocmask(SIG_BLOCK, nullptr, &after);
  EXPECT_EQ(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
}

}  // namespace
}  // namespace sockmi::sockmictl
