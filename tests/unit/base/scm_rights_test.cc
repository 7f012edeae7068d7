#include "base/scm_rights.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace sockmi {
namespace {

ino_t inode_of(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

class ScmRights : public testing::Test {
 protected:
  void SetUp() override {
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    sender_ = unique_fd(pair[0]);
    receiver_ = unique_fd(pair[1]);
  }
  void send(std::span<const int> descriptors) {
    alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptorsPerMessage * sizeof(int))];
    char byte = 'x';
    iovec part{&byte, 1};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    attach_descriptors(message, control, descriptors);
    ASSERT_EQ(::sendmsg(sender_.get(), &message, 0), 1);
  }
  std::vector<unique_fd> receive() {
    alignas(cmsghdr) char control[CMSG_SPACE(kMaxDescriptorsPerMessage * sizeof(int))];
    char byte;
    iovec part{&byte, 1};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    EXPECT_EQ(::recvmsg(receiver_.get(), &message, MSG_CMSG_CLOEXEC), 1);
    std::vector<unique_fd> out;
    take_descriptors(message, out);
    return out;
  }

  unique_fd sender_, receiver_;
};

TEST_F(ScmRights, PassesDescriptorsInTheirOrder) {
  const int two[] = {sender_.get(), receiver_.get()};

  send(two);
  const std::vector<unique_fd> received = receive();

  ASSERT_EQ(received.size(), 2u);
  EXPECT_EQ(inode_of(received[0].get()), inode_of(sender_.get()));
  EXPECT_EQ(inode_of(received[1].get()), inode_of(receiver_.get()));
}

TEST_F(ScmRights, PassesAsManyAsOneMessageMayHave) {
  const std::vector<int> many(kMaxDescriptorsPerMessage, sender_.get());

  send(many);

  EXPECT_EQ(receive().size(), many.size());
}

TEST_F(ScmRights, AttachesNothingWithoutDescriptors) {
  send({});

  EXPECT_TRUE(receive().empty());
}

}  // namespace
}  // namespace sockmi
