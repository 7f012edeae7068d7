// Connections of other network namespaces (containers) of this host.
//
// A socket can be captured from any namespace, but its packets are steered, and a socket for it is made, in its own. What tells the namespace later,
// when only addresses are spoken of, is the local address: a container with an address of its own, on the segment (macvlan, or a bridge), is what is
// served. Containers behind this host's NAT are not: their peers' packets come to the host, and two of them may have one address.
//
// A container may give itself any address. One that the host has is the host's, and one that another container leads connections away from stays that
// one's. What users make without privilege is not served at all (check_owner()).
//
// One set of rules a namespace, made when its first connection leaves and removed when the last is home, or has ended: while it is there, we hold
// the namespace, so that a container that stops does not take away the path of connections that live on elsewhere. What leads somewhere outlives us,
// as it does in our own namespace, and the next daemon finds it: see namespace_search.h. In between nobody holds the namespace.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>

#include "net/addresses.h"
#include "steer/netns.h"
#include "steer/steering.h"
#include "steer/ruleset_monitor.h"

namespace sockmi::steer {

class NamespacedSteering : public Steering, public Upkeep {
 public:
  // `ours` steers the daemon's own namespace, and everything that was not learnt to be elsewhere.
  explicit NamespacedSteering(std::unique_ptr<Steering> ours);
  ~NamespacedSteering() override;

  // Takes over what an earlier daemon that lived in our namespace left in others. How many namespaces could not be looked into: nothing is known of
  // them. None keeps us from those that can.
  Result<std::size_t> adopt();
  // From here on everything about this local address concerns the namespace of `socket`. ENOTSUP: its packets can't be steered there. EACCES: that
  // namespace is not served. EADDRINUSE: the address is another's. Wants CAP_SYS_ADMIN if that namespace is not the daemon's.
  Result<> learn(int socket, const IpAddress& local);
  bool in_other_namespace(const IpAddress& local) const { return place_of(local); }
  // Calls `function` where the address is.
  Result<> within(const IpAddress& local, const std::function<Result<>()>& function) const;
  // Calls it in each other namespace that is served.
  void within_others(const std::function<Result<>()>& function) const;
  // Gives up namespaces in which nothing is steered any more and of which nobody has spoken for so long.
  void forget_idle(std::chrono::milliseconds idle);

  using Steering::redirect;
  Result<> redirect(std::span<const Redirect> redirects) override;
  Result<> remove_redirects(std::span<const FourTuple> tuples) override;
  Result<std::vector<Redirect>> redirects() override;
  Result<> begin_return(const FourTuple& tuple, std::chrono::milliseconds timeout) override { return at(tuple.local.ip).begin_return(tuple, timeout); }
  Result<> cancel_return(const FourTuple& tuple) override { return at(tuple.local.ip).cancel_return(tuple); }
  Result<> redirect_port(const SocketAddress& local, const IpAddress& to, std::span<const FourTuple> staying) override;
  Result<> remove_port_redirect(const SocketAddress& local) override { return at(local.ip).remove_port_redirect(local); }
  Result<> block_port(const SocketAddress& local, std::chrono::milliseconds timeout) override { return at(local.ip).block_port(local, timeout); }
  Result<> unblock_port(const SocketAddress& local) override { return at(local.ip).unblock_port(local); }
  Result<std::vector<SocketAddress>> redirected_ports() override;
  Result<> stay(std::span<const FourTuple> tuples) override;
  Result<> unstay(std::span<const FourTuple> tuples) override;
  Result<> track(const FourTuple& tuple, bool established) override { return at(tuple.local.ip).track(tuple, established); }
  Result<> untrack(const FourTuple& tuple, std::chrono::milliseconds linger) override { return at(tuple.local.ip).untrack(tuple, linger); }
  // Guests live in the daemon's own namespace.
  Result<> add_foreign_address(std::span<const ForeignAddress> guests) override { return ours_->add_foreign_address(guests); }
  Result<std::vector<ForeignAddress>> sheltered() override { return ours_->sheltered(); }
  Result<std::vector<Readdressed>> readdressed() override { return ours_->readdressed(); }
  Result<bool> is_routed(const IpAddress& host) override { return ours_->is_routed(host); }
  Result<> rewrite_destination(std::span<const FourTuple> tuples, const IpAddress& own) override { return ours_->rewrite_destination(tuples, own); }
  Result<> remove_readdress(std::span<const FourTuple> tuples, const IpAddress& own, std::chrono::milliseconds linger) override {
    return ours_->remove_readdress(tuples, own, linger);
  }
  Result<> readdress_port(const SocketAddress& home, const IpAddress& own) override { return ours_->readdress_port(home, own); }
  Result<> remove_readdress_port(const SocketAddress& home, const IpAddress& own) override { return ours_->remove_readdress_port(home, own); }

  // Of all namespaces.
  int fd() const override { return watch_.get(); }
  bool is_disturbed() override;
  Result<std::string> repair() override;
  std::vector<IpAddress> led_anew() override { return dynamic_cast<Upkeep&>(*ours_).led_anew(); }  // a container's holders are on its segment

  // In other namespaces what leads somewhere for good is kept, and else nothing.
  void keep(bool yes) override { ours_->keep(yes); }

 private:
  struct Place {
    unique_fd handle;
    std::vector<net::HostAddress> addresses;
    std::unique_ptr<Steering> steering;
    std::chrono::steady_clock::time_point last_learnt;
    bool disturbed = false;
    ~Place();
  };
  Result<std::unique_ptr<Place>> open(unique_fd handle) const;
  Result<> adopt(std::unique_ptr<Place> place, ino_t inode, std::span<const net::HostAddress> own);
  bool is_our_own(const IpAddress& address) const;
  Place* place_of(const IpAddress& local) const;  // null: our own namespace
  Steering& at(const IpAddress& local) const;
  Result<> check_reach(const IpAddress& local, const IpAddress& to) const;
  // Calls `step` with those of each namespace.
  template <class Item>
  Result<> part(std::span<const Item> items, const std::function<Result<>(Steering&, std::span<const Item>)>& step) const;

  void watch(Steering& steering) const;

  std::unique_ptr<Steering> ours_;
  unique_fd watch_;  // polls readable when one of theirs does
  bool disturbed_ = false;  // our own
  ino_t our_inode_ = 0;
  std::unique_ptr<net::Netlink> route_;  // of our own namespace, in whichever we are called
  std::map<ino_t, std::unique_ptr<Place>> places_;
  std::map<IpAddress, Place*> places_of_;
};

// Removes everything of ours that a dead daemon of this namespace left in others. How many could not be looked into.
Result<std::size_t> flush_others();

}  // namespace sockmi::steer
