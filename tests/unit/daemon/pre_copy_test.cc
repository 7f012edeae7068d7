#include "migration/pre_copy.h"

#include <gtest/gtest.h>

namespace sockmi::daemon {
namespace {

constexpr wire::MigrationId kOne{1}, kOther{2};

Bytes bytes(const std::string& text) {
  return {text.begin(), text.end()};
}

class PreCopiesTest : public testing::Test {
 protected:
  void add(const wire::MigrationId& id, const std::string& text) {
    ASSERT_TRUE(copies_.add(id, "hostA", bytes(text)));
  }
  // Returns the receive queue that results.
  Result<std::string> put(const wire::MigrationId& id, std::uint32_t count,
                          const std::string& queue, const std::string& host = "hostA") {
    wire::TcpT image;
    image.receive_queue = bytes(queue);
    TRY(copies_.put_before(image, count, id, host));
    return std::string(image.receive_queue.begin(), image.receive_queue.end());
  }
  PreCopies copies_;
};

TEST_F(PreCopiesTest, ChunksAreJoinedInFrontOfTheQueue) {
  add(kOne, "one ");
  add(kOther, "of another");
  add(kOne, "two ");
  EXPECT_EQ(put(kOne, 8, "three"), "one two three");
  EXPECT_EQ(put(kOther, 10, ""), "of another");
}

TEST_F(PreCopiesTest, OnlyTheLastBytesAreUnread) {
  add(kOne, "read unread ");
  EXPECT_EQ(put(kOne, 7, "new"), "unread new");
}

TEST_F(PreCopiesTest, UnusedBytesAreForgotten) {
  add(kOne, "read");
  EXPECT_EQ(put(kOne, 0, "new"), "new");
  EXPECT_EQ(put(kOne, 1, "new").error().code, EBADMSG);
  add(kOne, "again");
  copies_.forget(kOne);
  EXPECT_EQ(put(kOne, 5, "new").error().code, EBADMSG);
}

TEST_F(PreCopiesTest, ACountBeyondTheSentBytesIsRefused) {
  add(kOne, "four");
  EXPECT_EQ(put(kOne, 5, "").error().code, EBADMSG);
  EXPECT_EQ(put(kOne, 0xffffffff, "").error().code, EBADMSG);
  EXPECT_EQ(put(kOther, 1, "").error().code, EBADMSG);
}

TEST_F(PreCopiesTest, BytesOfAnotherHostAreRefused) {
  add(kOne, "of hostA");
  EXPECT_EQ(copies_.add(kOne, "hostB", bytes("x")).error().code, EACCES);
  EXPECT_EQ(put(kOne, 8, "", "hostB").error().code, EBADMSG);
  EXPECT_EQ(put(kOne, 8, ""), "of hostA");
}

TEST_F(PreCopiesTest, TheTotalSizeIsBounded) {
  const Bytes much(128 << 20);
  ASSERT_TRUE(copies_.add(kOne, "hostA", much));
  ASSERT_TRUE(copies_.add(kOther, "hostA", much));
  EXPECT_EQ(copies_.add(kOne, "hostA", bytes("x")).error().code, ENOBUFS);
  EXPECT_EQ(put(kOne, 1, "").error().code, EBADMSG) << "a part of it is of no use";
  EXPECT_TRUE(copies_.add(kOne, "hostA", much)) << "there is room again";
}

}  // namespace
}  // namespace sockmi::daemon
