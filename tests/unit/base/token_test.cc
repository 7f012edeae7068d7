#include "base/token.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

namespace sockmi {
namespace {

// Returns the token as another process has it.
Token other(const Token& token) {
  return std::move(*Token::adopt(unique_fd(::fcntl(token.fd(), F_DUPFD_CLOEXEC, 0))));
}

TEST(Token, OnlyOneOfTwoProcessesTakesIt) {
  auto ours = Token::make();
  ASSERT_TRUE(ours);
  Token theirs = other(*ours);
  EXPECT_FALSE(ours->is_lost());
  EXPECT_FALSE(theirs.is_lost());
  EXPECT_TRUE(theirs.take());
  EXPECT_TRUE(ours->is_lost());
  EXPECT_FALSE(ours->take());
  EXPECT_TRUE(theirs.take());
  EXPECT_FALSE(theirs.is_lost());
}

// The flag belongs to both processes.
TEST(Token, TakeDoesNotWaitEvenIfTheOtherEndMadeItBlocking) {
  auto ours = Token::make();
  Token theirs = other(*ours);
  ASSERT_TRUE(theirs.take());
  ASSERT_EQ(::fcntl(theirs.fd(), F_SETFL, 0), 0);
  EXPECT_FALSE(ours->take());
}

TEST(Token, AdoptRefusesOtherDescriptors) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const unique_fd in(ends[0]), out(ends[1]);
  for (const int fd : {ends[0], ::open("/etc/hostname", O_RDONLY | O_CLOEXEC),
                       ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)}) {
    const auto adopted = Token::adopt(unique_fd(fd == ends[0] ? ::dup(fd) : fd));
    ASSERT_FALSE(adopted);
    EXPECT_EQ(adopted.error().code, EBADF);
  }
}

}  // namespace
}  // namespace sockmi
