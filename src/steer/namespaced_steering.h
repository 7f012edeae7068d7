// Steers connections of other network namespaces (containers) of this host, as well as
// those of the daemon's own namespace.
//
// A socket can be captured from any namespace, but its packets are steered, and a
// restored socket is created, in the socket's own namespace. Later, when only addresses
// are known, the local address identifies the namespace. So containers are served that
// have an address of their own on the link (macvlan, or a bridge). Containers behind this
// host's NAT are not served: their peers' packets come to the host's address, and two
// containers may have the same address.
//
// A container may give itself any address. An address that the host has belongs to the
// host. An address from which another container's connections have moved away stays with
// that container. Namespaces that users create without privilege are not served at all
// (check_owner()).
//
// Each served namespace has one set of rules. It is created when the first connection
// leaves, and removed when the last one is home or has ended. While the rules exist, we
// hold the namespace open, so that a container that stops does not take away the path of
// connections that live on elsewhere. Permanent redirects outlive the daemon, as they do
// in its own namespace, and the next daemon finds them: see netns.h. Between two daemons
// nothing holds the namespace open.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>

#include "net/addresses.h"
#include "steer/netns.h"
#include "steer/ruleset_monitor.h"
#include "steer/steering.h"

namespace sockmi::steer {

class NamespacedSteering : public Steering, public Upkeep {
 public:
  // `ours` steers the daemon's own namespace, and every address that is not known to
  // belong to another namespace.
  explicit NamespacedSteering(std::unique_ptr<Steering> ours);
  ~NamespacedSteering() override;

  // Takes over what an earlier daemon that lived in our namespace left in other
  // namespaces. Returns the number of namespaces that could not be read: nothing is known
  // about their content. Such a namespace does not keep us from taking over the others.
  Result<std::size_t> adopt();
  // From this call on, every operation on the address `local` applies to the network
  // namespace of `socket`. Requires CAP_SYS_ADMIN if that namespace is not the daemon's.
  // Errors: ENOTSUP if packets for `local` cannot be steered in that namespace; EACCES if
  // the namespace is not served; EADDRINUSE if the address belongs to another namespace.
  Result<> track_namespace(int socket, const IpAddress& local);
  bool in_other_namespace(const IpAddress& local) const { return place_of(local); }
  // Calls `function` in the namespace that the address belongs to.
  Result<> within(const IpAddress& local, const std::function<Result<>()>& function) const;
  // Calls `function` in each other namespace that is served.
  void within_others(const std::function<Result<>()>& function) const;
  // Releases the namespaces in which nothing is redirected any more and for which track_namespace()
  // was not called during the time `idle`.
  void forget_idle(std::chrono::milliseconds idle);

  using Steering::redirect;
  Result<> redirect(std::span<const Redirect> redirects) override;
  Result<> remove_redirects(std::span<const FourTuple> tuples) override;
  Result<std::vector<Redirect>> redirects() override;
  Result<> begin_return(const FourTuple& tuple, std::chrono::milliseconds timeout) override {
    return at(tuple.local.ip).begin_return(tuple, timeout);
  }
  Result<> cancel_return(const FourTuple& tuple) override {
    return at(tuple.local.ip).cancel_return(tuple);
  }
  Result<> redirect_port(const SocketAddress& local, const IpAddress& to,
                         std::span<const FourTuple> staying) override;
  Result<> remove_port_redirect(const SocketAddress& local) override {
    return at(local.ip).remove_port_redirect(local);
  }
  Result<> block_port(const SocketAddress& local, std::chrono::milliseconds timeout) override {
    return at(local.ip).block_port(local, timeout);
  }
  Result<> unblock_port(const SocketAddress& local) override {
    return at(local.ip).unblock_port(local);
  }
  Result<std::vector<SocketAddress>> redirected_ports() override;
  Result<> stay(std::span<const FourTuple> tuples) override;
  Result<> unstay(std::span<const FourTuple> tuples) override;
  Result<> track(const FourTuple& tuple, bool established) override {
    return at(tuple.local.ip).track(tuple, established);
  }
  Result<> untrack(const FourTuple& tuple, std::chrono::milliseconds linger) override {
    return at(tuple.local.ip).untrack(tuple, linger);
  }
  // Foreign addresses exist only in the daemon's own namespace.
  Result<> add_foreign_address(std::span<const ForeignAddress> guests) override {
    return ours_->add_foreign_address(guests);
  }
  Result<std::vector<ForeignAddress>> sheltered() override { return ours_->sheltered(); }
  Result<std::vector<Readdressed>> readdressed() override { return ours_->readdressed(); }
  Result<bool> is_routed(const IpAddress& host) override { return ours_->is_routed(host); }
  Result<> rewrite_destination(std::span<const FourTuple> tuples, const IpAddress& own) override {
    return ours_->rewrite_destination(tuples, own);
  }
  Result<> remove_readdress(std::span<const FourTuple> tuples, const IpAddress& own,
                            std::chrono::milliseconds linger) override {
    return ours_->remove_readdress(tuples, own, linger);
  }
  Result<> readdress_port(const SocketAddress& home, const IpAddress& own) override {
    return ours_->readdress_port(home, own);
  }
  Result<> remove_readdress_port(const SocketAddress& home, const IpAddress& own) override {
    return ours_->remove_readdress_port(home, own);
  }

  // The following functions cover all namespaces.
  int fd() const override { return watch_.get(); }
  bool is_disturbed() override;
  Result<std::string> repair() override;
  // Our own namespace only: the holders of a container's connections are on its link.
  std::vector<IpAddress> led_anew() override { return dynamic_cast<Upkeep&>(*ours_).led_anew(); }

  // Applies to our own namespace only. In each other namespace the rules stay if a
  // permanent redirect needs them, and are removed otherwise.
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
  // Calls `step` once for each namespace, with the items that belong to it.
  template <class Item>
  Result<> part(std::span<const Item> items,
                const std::function<Result<>(Steering&, std::span<const Item>)>& step) const;

  void watch(Steering& steering) const;

  std::unique_ptr<Steering> ours_;
  unique_fd watch_;         // readable when the fd() of any Upkeep is
  bool disturbed_ = false;  // our own namespace
  ino_t our_inode_ = 0;
  // Opened in our own namespace; works in it from whichever namespace we are called.
  std::unique_ptr<net::Netlink> route_;
  std::map<ino_t, std::unique_ptr<Place>> places_;
  std::map<IpAddress, Place*> places_of_;
};

// Removes everything that a dead daemon of this namespace left in other namespaces.
// Returns the number of namespaces that could not be read.
Result<std::size_t> flush_others();

}  // namespace sockmi::steer
