// A change counts as made if the kernel had no room to report it.
#include "steer/ruleset_monitor.h"

#include <linux/netlink.h>
#include <poll.h>

#include <sstream>

#include "network.h"

namespace sockmi::steer {
namespace {

constexpr int kMostFloods = 100;

// Returns how many notices the sockets of this bus in this namespace have missed.
std::uint64_t missed(int bus) {
  std::ifstream table("/proc/thread-self/net/netlink");
  std::string line;
  std::getline(table, line);
  std::uint64_t all = 0;
  while (std::getline(table, line)) {
    std::istringstream words(line);
    std::string address, groups;
    int protocol = 0;
    std::uint64_t pid = 0, received = 0, sent = 0, dump = 0, locks = 0, drops = 0;
    words >> address >> protocol >> pid >> groups >> received >> sent >> dump >> locks >> drops;
    if (protocol == bus) all += drops;
  }
  return all;
}

bool is_readable(const Changes& changes) {
  pollfd waits{.fd = changes.fd(), .events = POLLIN, .revents = 0};
  return ::poll(&waits, 1, 0) == 1;
}

class ChangesTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "wants root";
    host_.emplace();
    changes_ = host_->in([] { return std::move(*Changes::open()); });
  }
  void flood(int bus, const std::string& command) {
    for (int i = 0; i < kMostFloods && host_->in([bus] { return missed(bus); }) == 0; ++i)
      host_->run(command);
    ASSERT_GT(host_->in([bus] { return missed(bus); }), 0u) << "its buffer takes more than a flood";
  }
  // Reads all notices. Returns what the last call returned.
  News read_all() {
    News news;
    while (is_readable(*changes_))
      news = changes_->heard(0);
    return news;
  }

  std::optional<Host> host_;
  std::unique_ptr<Changes> changes_;
};

TEST_F(ChangesTest, AnOverrunOfTableNoticesCountsAsAllChanges) {
  host_->run(
      "nft 'add table netdev sockmi; add table ip other; add set ip other some { type ipv4_addr; "
      "}'");
  flood(NETLINK_NETFILTER,
        "seq -f 10.1.%g 1 200 | awk '{for (i = 0; i < 200; ++i) print $1 \".\" i}' | paste -sd, | "
        "sed 's/.*/add element ip other some { & }/; s/$/; flush set ip other some/' | nft -f -");
  const News first = changes_->heard(0);
  EXPECT_TRUE(first.ours && first.network);
  // While older notices are unread, the kernel does not report this one.
  host_->run("nft delete table netdev sockmi");
  EXPECT_TRUE(is_readable(*changes_)) << "this test shows nothing";
  EXPECT_TRUE(read_all().ours);
  host_->run("nft 'add table ip another; delete table ip another'");
  EXPECT_FALSE(read_all().ours) << "from here on it is as before";
}

TEST_F(ChangesTest, AnOverrunOfRouteNoticesCountsAsAllChanges) {
  flood(NETLINK_ROUTE,
        "for change in add del; do for i in $(seq 20); do seq -f \"route $change 10.$i.%g.0/24 dev "
        "lo\" 1 250; done; done | ip -batch -");
  const News first = changes_->heard(0);
  EXPECT_TRUE(first.ours && first.network);
  EXPECT_TRUE(read_all().network);
  host_->run("nft 'add table ip another; delete table ip another'");
  EXPECT_FALSE(read_all().ours) << "from here on it is as before";
}

}  // namespace
}  // namespace sockmi::steer
