// Against a kernel that is none: what is sent, and what is done about its answers.
#include "steer/sets.h"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <deque>

#include <gtest/gtest.h>

namespace sockmi::steer {
namespace {

class FakeKernel : public Netlink {
 public:
  Result<> transact(const void* messages, std::size_t size, unsigned, const char*) override {
    std::string changes;
    int left = static_cast<int>(size);
    for (auto* header = static_cast<const nlmsghdr*>(messages); mnl_nlmsg_ok(header, left); header = mnl_nlmsg_next(header, &left)) {
      if (header->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM)) changes += "+";
      if (header->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELSETELEM)) changes += "-";
    }
    seen.push_back(changes);
    if (answers.empty() || answers.front() == 0) {
      if (!answers.empty()) answers.pop_front();
      return {};
    }
    const int code = answers.front();
    answers.pop_front();
    return fail(code, "the kernel refuses");
  }
  Result<> dump(const nlmsghdr*, const char*, const std::function<void(const nlmsghdr*)>&) override { return {}; }

  std::vector<std::string> seen;
  std::deque<int> answers;  // errno of the next transactions; none: done
};

const SetName kSet{.family = 5, .table = "sockmi", .set = "redirect"};
const Element kElement{.key = {1, 2, 3, 4}, .data = {9}, .expires_in = {}};

TEST(Sets, ANewElementIsOneChangeAnOldOneIsReplacedInOneTransaction) {
  FakeKernel kernel;
  Sets sets(kernel);
  ASSERT_TRUE(sets.put(kSet, kElement));
  ASSERT_TRUE(sets.put(kSet, kElement));
  EXPECT_EQ(kernel.seen, (std::vector<std::string>{"+", "-+"}));
}

TEST(Sets, AnElementThatExpiredMeanwhileIsAddedAnew) {
  FakeKernel kernel;
  Sets sets(kernel);
  ASSERT_TRUE(sets.put(kSet, kElement));
  kernel.answers = {ENOENT};
  EXPECT_TRUE(sets.put(kSet, kElement));
  EXPECT_EQ(kernel.seen, (std::vector<std::string>{"+", "-+", "+"}));
}

TEST(Sets, RemovingWhatIsNotThereIsNoError) {
  FakeKernel kernel;
  Sets sets(kernel);
  EXPECT_TRUE(sets.remove(kSet, kElement.key));
  EXPECT_TRUE(kernel.seen.empty());
  ASSERT_TRUE(sets.put(kSet, kElement));
  kernel.answers = {ENOENT};
  EXPECT_TRUE(sets.remove(kSet, kElement.key));
}

TEST(Sets, AnotherErrorIsTheCallers) {
  FakeKernel kernel;
  Sets sets(kernel);
  kernel.answers = {EPERM};
  EXPECT_EQ(sets.put(kSet, kElement).error().code, EPERM);
}

}  // namespace
}  // namespace sockmi::steer
