// Tests what counts as an answer of the peer. Both ends are in this process; what one of
// them sends replaces what the daemon injects.
#include "connections/unheard_peers.h"

#include <sys/socket.h>

#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "net/peer_liveness.h"
#include "tcp/socket_info.h"

namespace sockmi::daemon {
namespace {

class UnheardPeersTest : public testing::Test {
 protected:
  void SetUp() override {
    const unique_fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage address{};
    socklen_t size = SocketAddress{*IpAddress::parse("127.0.0.1"), 0}.to(address);
    auto* name = reinterpret_cast<sockaddr*>(&address);
    ASSERT_TRUE(::bind(listener.get(), name, size) == 0 && ::listen(listener.get(), 1) == 0 &&
                ::getsockname(listener.get(), name, &size) == 0);
    peer_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(peer_.get(), name, size), 0);
    ours_.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const auto facts = tcp::socket_info(ours_.get());
    ASSERT_TRUE(facts);
    const auto now = net::liveness_of(facts->tuple, facts->cookie);
    ASSERT_TRUE(now) << to_string(now.error());
    tuple_ = facts->tuple;
    unheard_peers_.expect(facts->cookie, tuple_, {now->answers, now->acknowledged}, std::nullopt);
  }
  bool is_heard() {
    io_.run_for(std::chrono::milliseconds(300));
    return unheard_peers_.size() == 0;
  }

  asio::io_context io_;
  UnheardPeers unheard_peers_{io_};
  unique_fd ours_, peer_;
  FourTuple tuple_;
};

TEST_F(UnheardPeersTest, APeerWithoutASegmentStaysUnheard) {
  EXPECT_FALSE(is_heard());
}

TEST_F(UnheardPeersTest, ASegmentWithoutDataIsAnAnswer) {
  ASSERT_EQ(::shutdown(peer_.get(), SHUT_WR), 0);
  EXPECT_TRUE(is_heard());
}

TEST_F(UnheardPeersTest, AnInjectedSegmentIsNoAnswerOfThePeer) {
  unheard_peers_.injected(tuple_);
  EXPECT_FALSE(is_heard()) << "not even before the socket has got it";
  ASSERT_EQ(::shutdown(peer_.get(), SHUT_WR), 0);
  EXPECT_FALSE(is_heard());
  ASSERT_EQ(::send(ours_.get(), "?", 1, 0), 1);
  EXPECT_TRUE(is_heard()) << "what we say is acknowledged";
}

TEST_F(UnheardPeersTest, ASegmentInjectedIntoAnotherConnectionDoesNotMatter) {
  FourTuple other = tuple_;
  other.remote.port ^= 1;
  unheard_peers_.injected(other);
  ASSERT_EQ(::shutdown(peer_.get(), SHUT_WR), 0);
  EXPECT_TRUE(is_heard());
}

}  // namespace
}  // namespace sockmi::daemon
