// Elements of nftables sets and maps, changed by netlink, many in one transaction: about two microseconds each, where the nft program takes
// milliseconds.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/secret.h"
#include "net/netlink.h"

namespace sockmi::steer {

struct SetName {
  std::uint32_t family;  // NFPROTO_*
  std::string table, set;
  bool fleeting = false;  // rules take elements out of it (see begun.h): what is missing is not missed
};

struct Element {
  Bytes key, data;  // data is empty for a set
  std::optional<std::chrono::milliseconds> expires_in;
};

struct Change {
  enum What { kPut, kRemove } what;
  const SetName* set;  // outlives the Sets: it is known by its address
  Element element;     // kRemove: the key counts
};

class Sets {
 public:
  explicit Sets(net::Netlink& netlink) : netlink_(netlink) {}
  // All or none, each key of a set at most once. An element that is put takes the place of one with the same key: no packet sees the gap.
  // One that is to be removed and is not there is no error. One transaction, or several where it would be too big for the kernel.
  Result<> apply(std::span<const Change> changes);
  Result<std::vector<Element>> list(const SetName& set);
  Result<std::optional<Bytes>> find(const SetName& set, const Bytes& key);  // its data, as far as we know
  // Reads what the set has, to know it. Without it that is done at the first change.
  Result<> know(const SetName& set);
  // Makes the sets that are known what they were: puts back what somebody else has taken away or changed, and removes what he has put in. How many
  // elements that was.
  Result<std::size_t> restore();

 private:
  using Clock = std::chrono::steady_clock;
  struct Known {
    Bytes data;
    Clock::time_point until;  // it expires, and is then not there
  };
  struct Hash {
    std::size_t operator()(const Bytes& key) const {
      return std::hash<std::string_view>()({reinterpret_cast<const char*>(key.data()), key.size()});
    }
  };
  using Contents = std::unordered_map<Bytes, Known, Hash>;

  Result<> transact(std::span<const Change> changes, std::vector<Change>* undo);
  Result<> send(std::span<const Change> changes);
  const Known* known(const SetName& set, const Bytes& key) const;
  Change inverse(const Change& change) const;
  void remember(std::span<const Change> changes);
  // Reads what there is. What would make it what we remember.
  Result<std::vector<Change>> learn(const SetName& set);
  // What fails is remembered all the same: the next restore() does it.
  Result<> put_back(std::span<const Change> changes);

  net::Netlink& netlink_;
  std::unordered_map<const SetName*, Contents> known_;
  std::size_t sweep_at_ = 1024;
};

}  // namespace sockmi::steer
