// Tests whom the daemon takes a client for. The clients are processes and threads of
// other users, and of other namespaces.
#include "api/caller.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include <gtest/gtest.h>

#include "served_daemon.h"
#include "unit/daemon_socket.h"

namespace sockmi::api {
namespace {

class CallerTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!is_sandboxed) GTEST_SKIP() << "no namespaces to be had here";
    const timeval most{.tv_sec = 10, .tv_usec = 0};  // for accept(), if no child connects
    ::setsockopt(listener_.listener(), SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
  }
  void TearDown() override {
    if (child_ > 0) end_child();
  }

  unique_fd connect() const {
    unique_fd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(client.get(), listener_.address(), listener_.kAddressSize), 0);
    return client;
  }
  // Returns the daemon's end of a connection that a child process has opened, after it
  // has called `enter`.
  unique_fd accept_from_child(const std::function<bool()>& enter) {
    child_ = ::fork();
    if (child_ == 0) {
      if (!enter()) ::_exit(1);
      const unique_fd client = connect();
      ::pause();
    }
    return listener_.accept();
  }
  void end_child() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = -1;
  }

  const test::DaemonSocket listener_;
  pid_t child_ = -1;
  const User container_{0, "uid:0 of a container"};
};

TEST_F(CallerTest, RootOfThisHostIsRoot) {
  const unique_fd accepted = accept_from_child([] { return true; });

  EXPECT_EQ(caller_of(accepted.get()), (User{0, "root"}));
}

TEST_F(CallerTest, AUserIsKnownByNumber) {
  unique_fd client;
  as_user(kSomeUser, [&] { client = connect(); });

  EXPECT_EQ(caller_of(listener_.accept().get()), (User{kSomeUser, ""}));
}

TEST_F(CallerTest, AConnectionBelongsToTheUserWhoOpenedIt) {
  unique_fd client;
  as_user(kSomeUser, [&] { client = connect(); });
  const unique_fd accepted = listener_.accept();

  ASSERT_EQ(::send(client.get(), "x", 1, MSG_NOSIGNAL), 1) << "root uses the connection";

  EXPECT_EQ(caller_of(accepted.get()).uid, kSomeUser);
}

TEST_F(CallerTest, RootOfAnotherUserNamespaceIsAContainers) {
  const unique_fd accepted = accept_from_child([] { return ::unshare(CLONE_NEWUSER) == 0; });

  EXPECT_EQ(caller_of(accepted.get()), container_);
}

TEST_F(CallerTest, RootOfAnotherProcessNamespaceIsAContainers) {
  const unique_fd accepted = accept_from_child([] {
    if (::unshare(CLONE_NEWPID) != 0) return false;
    const pid_t inner = ::fork();
    if (inner == 0) return true;
    ::waitpid(inner, nullptr, 0);
    return false;
  });

  EXPECT_EQ(caller_of(accepted.get()), container_);
}

TEST_F(CallerTest, RootWhoseProcessHasEndedIsAContainers) {
  const unique_fd accepted = accept_from_child([] { return true; });
  end_child();

  EXPECT_EQ(caller_of(accepted.get()), container_);
}

TEST_F(CallerTest, ASocketOfAnotherKindHasNoUser) {
  const unique_fd tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

  EXPECT_EQ(caller_of(tcp.get()).uid, kNoUid);
}

TEST_F(CallerTest, ADescriptorThatIsClosedHasNoUser) {
  EXPECT_EQ(caller_of(-1), (User{kNoUid, "?"}));
}

}  // namespace
}  // namespace sockmi::api
