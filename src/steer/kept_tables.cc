#include "steer/kept_tables.h"

#include "steer/nft_upgrade.h"

namespace sockmi::steer {

Result<std::unique_ptr<KeptTables>> KeptTables::open(const std::vector<std::string>& interfaces,
                                                     ino_t daemon) {
  TRY_LET(changes, Changes::open());
  TRY_LET(netfilter, net::Netlink::open(NETLINK_NETFILTER));
  TRY_LET(links, links_of(interfaces));
  return std::unique_ptr<KeptTables>(
      new KeptTables(std::move(changes), std::move(netfilter), std::move(links), daemon));
}

Result<> KeptTables::create() {
  TRY(build(false));
  for (const FamilySets* sets : {&kSets4, &kSets6}) {
    for (const SetName* set :
         {&sets->returning, &sets->routed, &sets->ended_routed, &sets->ports_routed, &sets->via,
          &sets->out, &sets->exempt, &sets->foreign, &sets->foreign_ports, &sets->rewritten,
          &sets->rewritten_ports, &sets->blocked})
      TRY(sets_.know(*set));
  }
  for (const Link& link : links_) {
    for (const auto* maps : {&link.four, &link.six}) {
      for (const SetName* set : {&maps->redirects, &maps->ended, &maps->ports})
        TRY(sets_.know(*set));
    }
  }
  return {};
}

Result<> KeptTables::build(bool force) {
  TRY(create_tables(*netfilter_, links_, daemon_, force));
  TRY_LET(now, fingerprint(*netfilter_));
  built_ = std::move(now);
  return {};
}

Result<> KeptTables::apply(std::span<const Change> changes) {
  auto done = sets_.apply(changes);
  // Tables are created only by a thread in their own namespace; with daemon_ set, this
  // thread is in another one.
  if (done || done.error().code != ENOENT || daemon_ != 0) return done;
  mark_changed();  // somebody has just removed our tables; the next report says it
  TRY(repair());
  return sets_.apply(changes);
}

bool KeptTables::is_disturbed() {
  news_.add(changes_->heard(netfilter_->port()));
  return news_.ours || news_.network;
}

Result<> KeptTables::repair() {
  if (look_up(links_)) built_.clear();
  if (!news_.ours && !built_.empty()) return {};
  TRY_LET(now, fingerprint(*netfilter_));
  if (built_.empty() || now != built_) {
    TRY(build(true));
    note("tables");
  }
  TRY_LET(elements, sets_.restore());
  if (elements > 0) note(fmt::format("{} elements", elements));
  return {};
}

void KeptTables::note(const std::string& what) {
  // The note may be there already, from an earlier attempt.
  if (!repaired_.contains(what)) repaired_ += (repaired_.empty() ? "" : ", ") + what;
}

std::string KeptTables::take_report() {
  if (!repaired_.empty() && !news_.by.empty()) repaired_ += " taken away by " + news_.by;
  news_ = {};
  return std::exchange(repaired_, {});
}

}  // namespace sockmi::steer
