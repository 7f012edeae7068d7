// An endpoint waits for the late writes of its exporter, but not forever.
#include "migration/late_writes.h"

#include <gtest/gtest.h>

#include <sys/socket.h>

#include <array>

#include "base/unique_fd.h"

namespace sockmi::daemon {
namespace {

class LateWritesTest : public testing::Test {
 protected:
  LateWritesTest() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ours_ = unique_fd(ends[0]), theirs_ = unique_fd(ends[1]);
    late_writes_.expect(id_, "hostA", ours_.get(), [this] { ++done_; });
    delta_.written = {'x', 'y'};
  }
  std::string came() {
    std::array<char, 100> room;
    const ssize_t got = ::recv(theirs_.get(), room.data(), room.size(), MSG_DONTWAIT);
    return {room.data(), static_cast<std::size_t>(std::max<ssize_t>(0, got))};
  }

  boost::asio::io_context io_;
  LateWrites late_writes_{io_};
  unique_fd ours_, theirs_;
  const wire::MigrationId id_{1, 2, 3};
  tcp::FreezeDelta delta_;
  int done_ = 0;
};

TEST_F(LateWritesTest, LateBytesAreWrittenBeforeTheEndpointIsReady) {
  EXPECT_TRUE(late_writes_.take(id_, "hostA", delta_));
  EXPECT_EQ(came(), "xy");
  EXPECT_EQ(done_, 0);
  io_.run();
  EXPECT_EQ(done_, 1);
  EXPECT_TRUE(late_writes_.empty());
}

TEST_F(LateWritesTest, ARepeatedLateWriteChangesNothing) {
  EXPECT_TRUE(late_writes_.take(id_, "hostA", delta_));
  EXPECT_TRUE(late_writes_.take(id_, "hostA", delta_));
  io_.run();
  EXPECT_TRUE(late_writes_.take(id_, "hostA", delta_));
  EXPECT_EQ(came(), "xy");
  EXPECT_EQ(done_, 1);
}

TEST_F(LateWritesTest, ALateWriteOfAnotherHostIsRefused) {
  EXPECT_EQ(late_writes_.take(id_, "hostC", delta_).error().code, ENOENT);
  EXPECT_EQ(came(), "");
  EXPECT_FALSE(late_writes_.empty());
}

TEST_F(LateWritesTest, WaitingForASilentExporterEnds) {
  io_.run();
  EXPECT_EQ(done_, 1);
  EXPECT_EQ(late_writes_.take(id_, "hostA", delta_).error().code, ENOENT);
  EXPECT_EQ(came(), "");
}

}  // namespace
}  // namespace sockmi::daemon
