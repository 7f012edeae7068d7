#include "migration/privileges.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "steer/packet_marks.h"

namespace sockmi::daemon {
namespace {

void add(wire::TcpT& socket, int level, int name, std::vector<std::uint8_t> value) {
  auto option = std::make_unique<wire::SocketOptionT>();
  option->level = level;
  option->name = name;
  option->value = std::move(value);
  socket.options.push_back(std::move(option));
}

TEST(Privileges, OnlyUnprivilegedOptionsAreKept) {
  wire::TcpT socket;
  socket.mark = 7;
  socket.transparent = true;
  add(socket, SOL_SOCKET, SO_PRIORITY, {6, 0, 0, 0});
  add(socket, SOL_SOCKET, SO_PRIORITY, {7, 0, 0, 0});
  add(socket, SOL_SOCKET, SO_PRIORITY, {7});
  add(socket, SOL_SOCKET, SO_TXTIME, {1, 0, 0, 0, 0, 0, 0, 0});
  add(socket, IPPROTO_IPV6, IPV6_HOPOPTS, {0});
  add(socket, IPPROTO_IPV6, IPV6_TCLASS, {1, 0, 0, 0});
  add(socket, SOL_SOCKET, SO_KEEPALIVE, {1, 0, 0, 0});
  leave_privileges_behind(socket);
  EXPECT_EQ(socket.mark, 0u);
  EXPECT_FALSE(socket.transparent);
  ASSERT_EQ(socket.options.size(), 3u);
  EXPECT_EQ(socket.options[0]->value[0], 6);
  EXPECT_EQ(socket.options[1]->name, IPV6_TCLASS);
  EXPECT_EQ(socket.options[2]->name, SO_KEEPALIVE);
}

// A segment with one of these marks passes sockmi's rules.
TEST(Privileges, DropOurMarksRemovesMarksOfSockmiAlone) {
  for (const std::uint32_t mark :
       {steer::kFreezeMark, steer::kDeliverMark, steer::kInjectMark, steer::kReturningMark}) {
    wire::TcpT socket;
    socket.mark = mark;
    drop_our_marks(socket);
    EXPECT_EQ(socket.mark, 0u) << mark;
  }
  wire::TcpT socket;
  socket.mark = 0x77;
  drop_our_marks(socket);
  EXPECT_EQ(socket.mark, 0x77u);
}

}  // namespace
}  // namespace sockmi::daemon
