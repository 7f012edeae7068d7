// Elements of nftables sets and maps, changed by netlink in one transaction each: microseconds, where the nft program takes milliseconds.
#pragma once

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/secret.h"
#include "steer/netlink.h"

namespace sockmi::steer {

struct SetName {
  std::uint32_t family;  // NFPROTO_*
  const char* table;
  const char* set;
};

struct Element {
  Bytes key, data;  // data is empty for a set
  std::optional<std::chrono::milliseconds> expires_in;
};

class Sets {
 public:
  explicit Sets(Netlink& netlink) : netlink_(netlink) {}
  // Puts the element in, in place of one with the same key if there is one: no packet sees the gap.
  Result<> put(const SetName& set, const Element& element);
  Result<> remove(const SetName& set, const Bytes& key);  // no error if there is none
  Result<std::vector<Element>> list(const SetName& set);

 private:
  struct Change {
    std::uint16_t type;  // NFT_MSG_NEWSETELEM or NFT_MSG_DELSETELEM
    const Element& element;
  };
  Result<> apply(const SetName& set, const std::vector<Change>& changes);
  Netlink& netlink_;
  std::set<std::pair<const char*, Bytes>> present_;  // as far as we know: see put()
};

}  // namespace sockmi::steer
