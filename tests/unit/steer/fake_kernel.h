// A fake kernel: it records what was sent to it, and answers as the test says.
#pragma once

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <deque>
#include <string>
#include <vector>

#include <libmnl/libmnl.h>

#include "net/netlink.h"

namespace sockmi::steer {

class FakeKernel : public net::Netlink {
 public:
  Result<> transact(const void* messages, std::size_t size, unsigned, const char*) override {
    std::string changes;
    int left = static_cast<int>(size);
    for (auto* header = static_cast<const nlmsghdr*>(messages); mnl_nlmsg_ok(header, left);
         header = mnl_nlmsg_next(header, &left)) {
      if (header->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM))
        changes += std::string(elements(header), '+');
      if (header->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELSETELEM))
        changes += std::string(elements(header), '-');
    }
    seen.push_back(changes);
    const int code = answers.empty() ? 0 : answers.front();
    if (!answers.empty()) answers.pop_front();
    if (code != 0) return fail(code, "the kernel refuses");
    return {};
  }
  Result<> dump(const nlmsghdr*, const char*,
                const std::function<void(const nlmsghdr*)>&) override {
    ++dumps;
    return {};
  }
  std::size_t capacity() const override { return size; }

  std::vector<std::string> seen;  // one character for each element of a transaction
  std::deque<int> answers;        // errno of the next transactions; empty: success
  std::size_t size = 1 << 20;
  int dumps = 0;

 private:
  static int each_element(const nlattr*, void* count) {
    return ++*static_cast<std::size_t*>(count), MNL_CB_OK;
  }
  static std::size_t elements(const nlmsghdr* header) {
    std::size_t count = 0;
    const auto lists = [](const nlattr* attribute, void* n) {
      return mnl_attr_get_type(attribute) == NFTA_SET_ELEM_LIST_ELEMENTS
                 ? mnl_attr_parse_nested(attribute, each_element, n)
                 : MNL_CB_OK;
    };
    mnl_attr_parse(header, sizeof(nfgenmsg), lists, &count);
    return count;
  }
};

}  // namespace sockmi::steer
