// Changes elements of nftables sets and maps by netlink, many in one transaction. An
// element takes about two microseconds; the nft program takes milliseconds.
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
  // Rules of ours remove elements from this set (see reused_tuples.h), so a missing
  // element is not restored.
  bool removed_by_rules = false;
};

struct Element {
  Bytes key, data;  // data is empty for a set
  std::optional<std::chrono::milliseconds> expires_in;
};

struct Change {
  enum class What { Put, Remove } what;
  // Must outlive the Sets object, which identifies a set by the address of its SetName.
  const SetName* set;
  Element element;  // Remove: only the key counts
};

inline Change put_element(const SetName& set, Bytes key, Bytes data = {},
                          std::optional<std::chrono::milliseconds> expires_in = {}) {
  return {Change::What::Put, &set, {std::move(key), std::move(data), expires_in}};
}
inline Change remove_element(const SetName& set, Bytes key) {
  return {Change::What::Remove, &set, {std::move(key), {}, {}}};
}

class Sets {
 public:
  explicit Sets(net::Netlink& netlink) : netlink_(netlink) {}
  // Applies all changes or none. Each key of a set may occur at most once. An element
  // that is put replaces one with the same key, and no packet sees a gap. Removing an
  // element that is not there is not an error. Uses one transaction, or several if one
  // would be too large for the kernel; if a later one fails, the earlier ones are undone.
  Result<> apply(std::span<const Change> changes);
  Result<std::vector<Element>> list(const SetName& set);
  // Returns the element's data, as far as we know.
  Result<std::optional<Bytes>> find(const SetName& set, const Bytes& key);
  // Reads and remembers the content of the set. Otherwise this is done at the first
  // change.
  Result<> know(const SetName& set);
  // Restores the remembered content of all known sets: puts back what somebody else has
  // removed or changed, and removes what somebody else has added. Returns the number of
  // elements concerned.
  Result<std::size_t> restore();

 private:
  using Clock = std::chrono::steady_clock;
  struct Known {
    Bytes data;
    // The element expires then, and no longer counts as present.
    Clock::time_point until;
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
  // Reads the set and remembers what is there now. Returns the changes that would restore
  // what was remembered before.
  Result<std::vector<Change>> track_namespace(const SetName& set);
  // Remembers the changes even if they fail, so that the next restore() applies them.
  Result<> put_back(std::span<const Change> changes);

  net::Netlink& netlink_;
  std::unordered_map<const SetName*, Contents> known_;
  std::size_t sweep_at_ = 1024;
};

}  // namespace sockmi::steer
