// Our nftables tables in one network namespace: creates them, changes their elements, and
// puts back what somebody else has removed.
#pragma once

#include <sys/types.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "net/netlink.h"
#include "steer/nft_sets.h"
#include "steer/nft_tables.h"
#include "steer/ruleset_monitor.h"

namespace sockmi::steer {

class KeptTables {
 public:
  // Works in this thread's network namespace. `daemon`: see make_nft_steering().
  static Result<std::unique_ptr<KeptTables>> open(const std::vector<std::string>& interfaces,
                                                  ino_t daemon);

  // From here on the elements that an earlier daemon left are remembered, whatever
  // happens to them in the kernel.
  Result<> create();

  // Applies all changes or none, even if somebody has just removed our tables.
  Result<> apply(std::span<const Change> changes);
  Result<> apply(const Change& change) { return apply(std::span(&change, 1)); }
  Sets& sets() { return sets_; }
  const std::vector<Link>& links() const { return links_; }
  net::Netlink& netfilter() { return *netfilter_; }

  int fd() const { return changes_->fd(); }  // readable when others have changed something
  bool is_disturbed();
  // Creates the tables and restores the elements again if something is missing, and notes
  // it for the next report.
  Result<> repair();
  void note(const std::string& what);
  // repair() has failed, perhaps because rules are missing: everything is checked again.
  void mark_changed() { news_.ours = true; }
  // Returns what was noted since the last call, and begins again to wait for changes.
  std::string take_report();

 private:
  KeptTables(std::unique_ptr<Changes> changes, std::unique_ptr<net::Netlink> netfilter,
             std::vector<Link> links, ino_t daemon)
      : changes_(std::move(changes)),
        netfilter_(std::move(netfilter)),
        daemon_(daemon),
        links_(std::move(links)),
        sets_(*netfilter_) {}
  Result<> build(bool force);

  std::unique_ptr<Changes> changes_;
  std::unique_ptr<net::Netlink> netfilter_;
  const ino_t daemon_;
  std::vector<Link> links_;  // the names in it do not move: sets_ refers to them by address
  Sets sets_;
  // The fingerprint of our tables as we created them; "": they must be created again.
  std::string built_;
  News news_;             // not handled by repair() yet
  std::string repaired_;  // not reported yet
};

}  // namespace sockmi::steer
