// The pre-copied bytes of the receive queue precede those of the image, whatever the
// application and the peer have done meanwhile.
#include "connection.h"

#include <random>

#include "tcp/pre_copy.h"

namespace sockmi::tcp {
namespace {

class ReadAhead : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!enter_namespace()) GTEST_SKIP() << "no network namespace to be had here";
    pair_ = Connection::make(GetParam());
  }

  void send(const std::string& text) {
    const std::size_t before = queued(mover_.get(), SIOCINQ);
    say(peer_.get(), text);
    ASSERT_TRUE(eventually([&] { return queued(mover_.get(), SIOCINQ) == before + text.size(); }));
  }

  Result<std::string> read_ahead() {
    TRY_LET(bytes, tcp::read_ahead(mover_.get(), ahead_, 1));
    sent_ahead_.append(bytes.begin(), bytes.end());
    return std::string(bytes.begin(), bytes.end());
  }

  // Moves the mover. Returns how many of the pre-copied bytes were used.
  std::uint32_t move_with_it() {
    auto frozen = FrozenSocket::freeze(mover_.get(), kMarks);
    EXPECT_TRUE(frozen) << to_string(frozen.error());
    auto image = frozen->capture(&ahead_);
    EXPECT_TRUE(image) << to_string(image.error());
    EXPECT_TRUE(frozen->destroy_silently());
    image->receive_queue.insert(image->receive_queue.begin(), sent_ahead_.end() - ahead_.size(),
                                sent_ahead_.end());
    sent_ahead_.clear();
    mover_ = make(*image);
    return std::exchange(ahead_, {}).size();
  }

  Connection pair_;
  PreCopyRange ahead_;
  std::string sent_ahead_;
  unique_fd &mover_ = pair_.mover, &peer_ = pair_.peer;
};

INSTANTIATE_TEST_SUITE_P(Families, ReadAhead, testing::ValuesIn(kFamilies));

TEST_P(ReadAhead, ThenNothingHappens) {
  send("all that waits");
  EXPECT_EQ(read_ahead(), "all that waits");
  EXPECT_EQ(read_ahead(), "");
  EXPECT_EQ(move_with_it(), 14u);
  EXPECT_EQ(inject_ack(mover_.get(), 14), "all that waits");
}

TEST_P(ReadAhead, ThenMoreComes) {
  send("one ");
  EXPECT_EQ(read_ahead(), "one ");
  send("two ");
  EXPECT_EQ(read_ahead(), "two ");
  send("three");
  EXPECT_EQ(move_with_it(), 8u);
  EXPECT_EQ(inject_ack(mover_.get(), 13), "one two three");
}

TEST_P(ReadAhead, ThenSomeIsRead) {
  send("read and unread");
  ASSERT_TRUE(read_ahead());
  EXPECT_EQ(inject_ack(mover_.get(), 4), "read");
  send(", and more");
  EXPECT_EQ(read_ahead(), ", and more");
  EXPECT_EQ(inject_ack(mover_.get(), 1), " ");
  EXPECT_EQ(move_with_it(), 20u);
  EXPECT_EQ(inject_ack(mover_.get(), 20), "and unread, and more");
}

TEST_P(ReadAhead, ThenAllIsReadAndMoreComes) {
  send("read");
  ASSERT_TRUE(read_ahead());
  send(" before");
  EXPECT_EQ(inject_ack(mover_.get(), 5), "read ");
  EXPECT_EQ(move_with_it(), 0u);
  EXPECT_EQ(inject_ack(mover_.get(), 6), "before");
}

TEST_P(ReadAhead, ThenTheOwnerOvertakesIt) {
  send("read");
  ASSERT_TRUE(read_ahead());
  send(" on");
  EXPECT_EQ(inject_ack(mover_.get(), 6), "read o");
  send(" and on");
  EXPECT_EQ(read_ahead().error().code, EAGAIN);
}

TEST_P(ReadAhead, ThenThePeerEnds) {
  send("the ");
  ASSERT_TRUE(read_ahead());
  say(peer_.get(), "end");
  ::shutdown(peer_.get(), SHUT_WR);
  ASSERT_TRUE(eventually([&] { return state_of(mover_.get()) == kCloseWait; }));
  EXPECT_EQ(read_ahead(), "end");
  EXPECT_EQ(move_with_it(), 7u);
  EXPECT_EQ(hear_out(mover_.get()), "the end");
}

TEST_P(ReadAhead, ThenThePeerEndsAndThatIsRead) {
  send("the end");
  ASSERT_TRUE(read_ahead());
  ::shutdown(peer_.get(), SHUT_WR);
  EXPECT_EQ(hear_out(mover_.get()), "the end");
  EXPECT_EQ(read_ahead(), "");
  EXPECT_EQ(move_with_it(), 0u);
  EXPECT_EQ(hear_out(mover_.get()), "");
}

TEST_P(ReadAhead, OfAMovedSocket) {
  send("counts ");
  move(mover_);
  send("anew");
  EXPECT_EQ(read_ahead(), "counts anew");
  EXPECT_EQ(inject_ack(mover_.get(), 7), "counts ");
  EXPECT_EQ(move_with_it(), 4u);
  EXPECT_EQ(inject_ack(mover_.get(), 4), "anew");
}

TEST_P(ReadAhead, IsNotWorthIt) {
  send("little");
  const auto bytes = tcp::read_ahead(mover_.get(), ahead_, 7);
  ASSERT_TRUE(bytes);
  EXPECT_TRUE(bytes->empty());
  EXPECT_EQ(move_with_it(), 0u);
  EXPECT_EQ(inject_ack(mover_.get(), 6), "little");
}

TEST_P(ReadAhead, UrgentDataIsLeftAlone) {
  send("before");
  ASSERT_EQ(::send(peer_.get(), "!", 1, MSG_OOB), 1);
  ASSERT_TRUE(eventually([&] { return poll_now(mover_.get(), POLLPRI) & POLLPRI; }));
  EXPECT_EQ(read_ahead().error().code, ENOTSUP);
  EXPECT_EQ(ahead_.size(), 0u);
}

TEST_P(ReadAhead, OwnersWhoPeekAreLeftAlone) {
  const int offset = 2;
  if (::setsockopt(mover_.get(), SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) != 0)
    GTEST_SKIP() << "no SO_PEEK_OFF for TCP here";
  send("peeked at");
  EXPECT_EQ(read_ahead().error().code, ENOTSUP);
  EXPECT_EQ(move_with_it(), 0u);
  EXPECT_EQ(inject_ack(mover_.get(), 9), "peeked at");
}

TEST_P(ReadAhead, AConnectionThatHasEnded) {
  send("bye");
  ASSERT_TRUE(read_ahead());
  ::shutdown(mover_.get(), SHUT_WR);
  peer_.reset();
  ASSERT_TRUE(eventually([&] { return state_of(mover_.get()) == kClose; }));
  EXPECT_NE(read_ahead().value_or(""), "bye");
}

TEST_P(ReadAhead, AnythingAtAnyTime) {
  for (unsigned seed = 1; seed <= 20 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    std::minstd_rand random(seed);
    pair_ = Connection::make(GetParam());
    ahead_ = {};
    sent_ahead_.clear();
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
          if (unread > 0) heard += inject_ack(mover_.get(), std::min(unread, size));
          break;
        case 3:
          if (!read_ahead()) {  // the reader has overtaken it: start again
            ahead_ = {};
            sent_ahead_.clear();
          }
          break;
        default: move_with_it();
      }
    }
    ::shutdown(peer_.get(), SHUT_WR);
    EXPECT_TRUE(heard + hear_out(mover_.get()) == all);
  }
}

}  // namespace
}  // namespace sockmi::tcp
