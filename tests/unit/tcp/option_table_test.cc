// Whatever an application has set is in place after a move. The test tries every row of
// the table, with a value from a long list that the kernel accepts and that differs from
// the old one. The tables have every option that this kernel can read and set.
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <vector>

#include "connection.h"
#include "tcp/listener.h"
#include "tcp/option_table.h"
#include "tcp/socket_options.h"

namespace sockmi::tcp {
namespace {

Bytes read(int fd, int level, int name) {
  Bytes value(256);
  socklen_t size = static_cast<socklen_t>(value.size());
  if (::getsockopt(fd, level, name, value.data(), &size) != 0) return {};
  value.resize(size);
  return value;
}

bool is_supported(int fd, int level, int name) {
  Bytes value(256);
  socklen_t size = static_cast<socklen_t>(value.size());
  return ::getsockopt(fd, level, name, value.data(), &size) == 0;
}

// Returns whole numbers in as many bytes as the option has, and values that are not
// numbers: times, an IP option, an extension header, a key.
std::vector<Bytes> candidates(std::size_t size) {
  std::vector<Bytes> all;
  for (const int number : {1, 0, 2, 3, 5, 7, 30, 100, 1000, 1500, 4444, 100'000, 20'000'000}) {
    Bytes value(std::max(size, sizeof number));
    std::memcpy(value.data(), &number, sizeof number);
    all.push_back(value);
  }
  all.push_back({1, 1, 1, 0});
  all.push_back({0, 0, 1, 4, 0, 0, 0, 0});
  all.push_back(Bytes(16, 'k'));
  return all;
}

// Changes the option to another value. Returns whether that was possible.
bool change(int fd, int level, int name) {
  const Bytes before = read(fd, level, name);
  for (const Bytes& value : candidates(before.size()))
    if (::setsockopt(fd, level, name, value.data(), static_cast<socklen_t>(value.size())) == 0 &&
        read(fd, level, name) != before)
      return true;
  return false;
}

std::string name(const Option& option) {
  return option.text;
}

class OptionTableTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!enter_namespace()) GTEST_SKIP() << "no network namespace to be had here";
  }
  static bool v6() { return std::string(GetParam()).find(':') != std::string::npos; }
};

INSTANTIATE_TEST_SUITE_P(Families, OptionTableTest, testing::ValuesIn(kFamilies));

TEST_P(OptionTableTest, EachOptionMoves) {
  int changed = 0;
  for (const Option& option : moved_options()) {
    if (option.when == When::Passive || (option.level == IPPROTO_IPV6 && !v6())) continue;
    Connection pair = Connection::make(GetParam());
    // This kernel does not have it.
    if (!is_supported(pair.mover.get(), option.level, option.name)) continue;
    changed +=
        option.when == When::Connected && change(pair.mover.get(), option.level, option.name);
    const Bytes before = read(pair.mover.get(), option.level, option.name);
    for (int i = 0; i < 2; ++i) {
      move(pair.mover);
      EXPECT_EQ(read(pair.mover.get(), option.level, option.name), before)
          << name(option) << ", move " << i + 1;
    }
  }
  EXPECT_GT(changed, 50) << "a kernel, or its rights, may spare some";
}

TEST_P(OptionTableTest, EachOptionMovesWithAListener) {
  for (const Option& option : moved_options()) {
    if (option.level == IPPROTO_IPV6 && !v6()) continue;
    SocketAddress address{*IpAddress::parse(GetParam()), 0};
    socklen_t size;
    const auto raw = Connection::name(address, size);
    unique_fd listener(::socket(address.ip.family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!is_supported(listener.get(), option.level, option.name)) continue;
    change(listener.get(), option.level, option.name);
    if (option.level == IPPROTO_IPV6 && option.name == IPV6_V6ONLY)
      continue;  // mapped addresses require it off; see listener_test.cc
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&raw), size), 0)
        << name(option);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    const Bytes before = read(listener.get(), option.level, option.name);
    const auto image = capture_passive(listener.get());
    ASSERT_TRUE(image) << to_string(image.error());
    listener.reset();
    const auto restored = restore_passive(*image, false);
    ASSERT_TRUE(restored) << to_string(restored.error());
    EXPECT_EQ(read(restored->get(), option.level, option.name), before) << name(option);
  }
}

// All options together: none disturbs another.
TEST_P(OptionTableTest, AllOptionsMoveTogether) {
  Connection pair = Connection::make(GetParam());
  const int fd = pair.mover.get();
  std::vector<const Option*> changed;
  for (const Option& option : moved_options())
    if (option.when == When::Connected && (option.level != IPPROTO_IPV6 || v6()) &&
        option.name != IP_OPTIONS && option.name != SO_DONTROUTE &&
        is_supported(fd, option.level, option.name) && change(fd, option.level, option.name))
      changed.push_back(&option);
  EXPECT_GT(changed.size(), 50u);
  std::vector<Bytes> values;
  for (const Option* option : changed)
    values.push_back(read(fd, option->level, option->name));
  move(pair.mover);
  for (std::size_t i = 0; i < changed.size(); ++i)
    EXPECT_EQ(read(pair.mover.get(), changed[i]->level, changed[i]->name), values[i])
        << name(*changed[i]);
}

TEST_P(OptionTableTest, MarkBuffersAndFlagsMove) {
  Connection pair = Connection::make(GetParam());
  const int fd = pair.mover.get(), mark = 4711, one = 1, size = 50'000;
  ::setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark);
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
  ::fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
  const int send_buffer = value_of(fd, SOL_SOCKET, SO_SNDBUF),
            clamp = value_of(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP);
  move(pair.mover);
  const int moved = pair.mover.get();
  EXPECT_EQ(value_of(moved, SOL_SOCKET, SO_MARK), mark);
  EXPECT_EQ(value_of(moved, SOL_SOCKET, SO_REUSEADDR), 1);
  EXPECT_EQ(value_of(moved, SOL_SOCKET, SO_RCVBUF), 2 * size);
  EXPECT_EQ(value_of(moved, SOL_SOCKET, SO_SNDBUF), send_buffer);
  EXPECT_EQ(value_of(moved, SOL_SOCKET, SO_BUF_LOCK), 2)
      << "the receive buffer is fixed, the send buffer is tuned";
  EXPECT_EQ(value_of(moved, IPPROTO_TCP, TCP_WINDOW_CLAMP), clamp);
  EXPECT_EQ(::fcntl(moved, F_GETFL), O_RDWR | O_NONBLOCK);
  const Bytes congestion = read(moved, IPPROTO_TCP, TCP_CONGESTION);
  EXPECT_STREQ(reinterpret_cast<const char*>(congestion.data()), "reno");
}

TEST_P(OptionTableTest, AnUnknownCongestionControlIsIgnored) {
  Connection pair = Connection::make(GetParam());
  auto image = export_image(pair.mover);
  image.congestion = "none-such";
  pair.mover = import_image(image);
  send_text(pair.peer.get(), "x");
  EXPECT_EQ(read_text(pair.mover.get(), 1), "x");
}

// An image must not set an option that the table does not name.
TEST_P(OptionTableTest, RestoreSetsOnlyOptionsOfTheTable) {
  Connection pair = Connection::make(GetParam());
  auto image = export_image(pair.mover);
  const int one = 1, index = 1;
  add_option(image, SOL_SOCKET, SO_BINDTOIFINDEX,
             {reinterpret_cast<const std::uint8_t*>(&index), sizeof index});
  add_option(image, SOL_SOCKET, SO_MARK, {reinterpret_cast<const std::uint8_t*>(&one), sizeof one});
  pair.mover = import_image(image);
  EXPECT_EQ(value_of(pair.mover.get(), SOL_SOCKET, SO_BINDTOIFINDEX), 0);
  EXPECT_EQ(value_of(pair.mover.get(), SOL_SOCKET, SO_MARK), 0);
}

// Further options of a newer kernel are printed.
TEST_P(OptionTableTest, TheTablesListAllOptionsOfThisKernel) {
  utsname kernel;
  ::uname(&kernel);
  int version[2] = {};
  std::sscanf(kernel.release, "%d.%d", &version[0], &version[1]);
  const bool known = std::ranges::lexicographical_compare(version, kNewestLinux) ||
                     std::ranges::equal(version, kNewestLinux);
  const auto named = [](auto table, int level, int number) {
    return std::ranges::any_of(
        table, [&](const auto& row) { return row.level == level && row.name == number; });
  };
  for (const int level : {SOL_SOCKET, int(IPPROTO_TCP), int(IPPROTO_IP), int(IPPROTO_IPV6)}) {
    if (level == IPPROTO_IPV6 && !v6()) continue;
    for (int number = 0; number <= 200; ++number) {
      EXPECT_FALSE(named(moved_options(), level, number) && named(unmoved_options(), level, number))
          << level << ' ' << number;
      if (named(moved_options(), level, number) || named(unmoved_options(), level, number))
        continue;
      Connection pair = Connection::make(GetParam());
      unique_fd fresh(::socket(v6() ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      for (const int fd : {pair.mover.get(), fresh.get()}) {
        if (!is_supported(fd, level, number) || !change(fd, level, number)) continue;
        if (known)
          ADD_FAILURE() << "option " << number << " of level " << level << " is in no table";
        else
          std::printf("option %d of level %d is in no table\n", number, level);
      }
    }
  }
}

}  // namespace
}  // namespace sockmi::tcp
