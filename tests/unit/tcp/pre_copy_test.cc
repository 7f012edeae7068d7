// The pre-copied bytes of the receive queue precede those of the image, whatever the
// application and the peer have done meanwhile.
#include "connection.h"

#include <random>

#include "tcp/pre_copy.h"

namespace sockmi::tcp {
namespace {

class PreCopyTest : public ConnectionTest {
 protected:
  void send(const std::string& text) {
    const std::size_t before = queued(mover_.get(), SIOCINQ);
    send_text(peer_.get(), text);
    ASSERT_TRUE(eventually([&] { return queued(mover_.get(), SIOCINQ) == before + text.size(); }));
  }

  Result<std::string> copy_next() {
    TRY_LET(bytes, tcp::read_for_pre_copy(mover_.get(), range_, 1));
    copied_.append(bytes.begin(), bytes.end());
    return std::string(bytes.begin(), bytes.end());
  }

  // Moves the mover. Returns how many of the pre-copied bytes were used.
  std::uint32_t move_with_copy() {
    auto frozen = FrozenSocket::freeze(mover_.get(), kMarks);
    EXPECT_TRUE(frozen) << to_string(frozen.error());
    auto image = frozen->capture(&range_);
    EXPECT_TRUE(image) << to_string(image.error());
    EXPECT_TRUE(frozen->destroy_silently());
    image->receive_queue.insert(image->receive_queue.begin(), copied_.end() - range_.size(),
                                copied_.end());
    copied_.clear();
    mover_ = import_image(*image);
    return std::exchange(range_, {}).size();
  }

  PreCopyRange range_;
  std::string copied_;
};

INSTANTIATE_TEST_SUITE_P(Families, PreCopyTest, testing::ValuesIn(kFamilies));

TEST_P(PreCopyTest, AllWaitingBytesAreCopiedOnce) {
  send("all that waits");
  EXPECT_EQ(copy_next(), "all that waits");
  EXPECT_EQ(copy_next(), "");
  EXPECT_EQ(move_with_copy(), 14u);
  EXPECT_EQ(read_text(mover_.get(), 14), "all that waits");
}

TEST_P(PreCopyTest, LaterBytesAreCopiedInTurn) {
  send("one ");
  EXPECT_EQ(copy_next(), "one ");
  send("two ");
  EXPECT_EQ(copy_next(), "two ");
  send("three");
  EXPECT_EQ(move_with_copy(), 8u);
  EXPECT_EQ(read_text(mover_.get(), 13), "one two three");
}

TEST_P(PreCopyTest, OnlyUnreadCopiedBytesAreUsed) {
  send("read and unread");
  ASSERT_TRUE(copy_next());
  EXPECT_EQ(read_text(mover_.get(), 4), "read");
  send(", and more");
  EXPECT_EQ(copy_next(), ", and more");
  EXPECT_EQ(read_text(mover_.get(), 1), " ");
  EXPECT_EQ(move_with_copy(), 20u);
  EXPECT_EQ(read_text(mover_.get(), 20), "and unread, and more");
}

TEST_P(PreCopyTest, CopiedBytesThatWereReadAreNotUsed) {
  send("read");
  ASSERT_TRUE(copy_next());
  send(" before");
  EXPECT_EQ(read_text(mover_.get(), 5), "read ");
  EXPECT_EQ(move_with_copy(), 0u);
  EXPECT_EQ(read_text(mover_.get(), 6), "before");
}

TEST_P(PreCopyTest, AnOwnerThatReadsPastTheCopyEndsIt) {
  send("read");
  ASSERT_TRUE(copy_next());
  send(" on");
  EXPECT_EQ(read_text(mover_.get(), 6), "read o");
  send(" and on");
  EXPECT_EQ(copy_next().error().code, EAGAIN);
}

TEST_P(PreCopyTest, BytesBeforeAFinAreCopied) {
  send("the ");
  ASSERT_TRUE(copy_next());
  send_text(peer_.get(), "end");
  ::shutdown(peer_.get(), SHUT_WR);
  ASSERT_TRUE(eventually([&] { return state_of(mover_.get()) == kCloseWait; }));
  EXPECT_EQ(copy_next(), "end");
  EXPECT_EQ(move_with_copy(), 7u);
  EXPECT_EQ(read_to_end(mover_.get()), "the end");
}

TEST_P(PreCopyTest, AFinThatWasReadLeavesNothingToUse) {
  send("the end");
  ASSERT_TRUE(copy_next());
  ::shutdown(peer_.get(), SHUT_WR);
  EXPECT_EQ(read_to_end(mover_.get()), "the end");
  EXPECT_EQ(copy_next(), "");
  EXPECT_EQ(move_with_copy(), 0u);
  EXPECT_EQ(read_to_end(mover_.get()), "");
}

TEST_P(PreCopyTest, AMovedSocketCanBeCopiedAgain) {
  send("counts ");
  move(mover_);
  send("again");
  EXPECT_EQ(copy_next(), "counts again");
  EXPECT_EQ(read_text(mover_.get(), 7), "counts ");
  EXPECT_EQ(move_with_copy(), 5u);
  EXPECT_EQ(read_text(mover_.get(), 5), "again");
}

TEST_P(PreCopyTest, LittleUnreadDataIsNotCopied) {
  send("little");
  const auto bytes = tcp::read_for_pre_copy(mover_.get(), range_, 7);
  ASSERT_TRUE(bytes);
  EXPECT_TRUE(bytes->empty());
  EXPECT_EQ(move_with_copy(), 0u);
  EXPECT_EQ(read_text(mover_.get(), 6), "little");
}

TEST_P(PreCopyTest, UrgentDataIsRefused) {
  send("before");
  ASSERT_EQ(::send(peer_.get(), "!", 1, MSG_OOB), 1);
  ASSERT_TRUE(eventually([&] { return poll_now(mover_.get(), POLLPRI) & POLLPRI; }));
  EXPECT_EQ(copy_next().error().code, ENOTSUP);
  EXPECT_EQ(range_.size(), 0u);
}

TEST_P(PreCopyTest, ASocketWithAPeekOffsetIsRefused) {
  const int offset = 2;
  if (::setsockopt(mover_.get(), SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) != 0)
    GTEST_SKIP() << "no SO_PEEK_OFF for TCP here";
  send("peeked at");
  EXPECT_EQ(copy_next().error().code, ENOTSUP);
  EXPECT_EQ(move_with_copy(), 0u);
  EXPECT_EQ(read_text(mover_.get(), 9), "peeked at");
}

TEST_P(PreCopyTest, AnEndedConnectionYieldsNoBytes) {
  send("bye");
  ASSERT_TRUE(copy_next());
  ::shutdown(mover_.get(), SHUT_WR);
  peer_.reset();
  ASSERT_TRUE(eventually([&] { return state_of(mover_.get()) == kClose; }));
  EXPECT_NE(copy_next().value_or(""), "bye");
}

TEST_P(PreCopyTest, RandomReadsWritesAndMovesKeepTheStream) {
  for (unsigned seed = 1; seed <= 20 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    std::minstd_rand random(seed);
    pair_ = Connection::make(GetParam());
    range_ = {};
    copied_.clear();
    std::string all, heard;
    for (int step = 0; step < 60 && !HasFailure(); ++step) {
      const std::size_t unread = queued(mover_.get(), SIOCINQ), size = 1 + random() % 3000;
      switch (random() % 5) {
        case 0:
        case 1: {
          std::string text(size, 0);
          for (char& letter : text)
            letter = static_cast<char>('a' + random() % 26);
          send(text);
          all += text;
          break;
        }
        case 2:
          if (unread > 0) heard += read_text(mover_.get(), std::min(unread, size));
          break;
        case 3:
          if (!copy_next()) {  // the reader has overtaken it: start again
            range_ = {};
            copied_.clear();
          }
          break;
        default: move_with_copy();
      }
    }
    ::shutdown(peer_.get(), SHUT_WR);
    EXPECT_TRUE(heard + read_to_end(mover_.get()) == all);
  }
}

}  // namespace
}  // namespace sockmi::tcp
