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

class NamespacedSteering : public Upkeep {
 public:
  // `own` steers the daemon's own namespace, and every address that is not known to
  // belong to another namespace.
  explicit NamespacedSteering(std::unique_ptr<Steering> own);
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
  // Releases the namespaces in which nothing is redirected any more and for which
  // track_namespace() was not called during the time `idle`.
  void forget_idle(std::chrono::milliseconds idle);

  // Returns what steers the daemon's own namespace.
  Steering& own() const { return *own_; }
  // Returns what steers the namespace that the address belongs to. Valid until the next
  // call of track_namespace() or forget_idle().
  Steering& at(const IpAddress& local) const;

  // These do in each namespace what belongs to it. A failure in one of them does not undo
  // what is done in others.
  Result<> redirect(std::span<const Redirect> redirects) const;
  Result<> remove_redirects(std::span<const FourTuple> tuples) const;
  Result<std::vector<Redirect>> redirects() const;
  Result<std::vector<SocketAddress>> redirected_ports() const;

  // The following functions cover all namespaces.
  int fd() const override { return watch_.get(); }
  bool is_disturbed() override;
  Result<std::string> repair() override;
  // Our own namespace only: the holders of a container's connections are on its link.
  std::vector<IpAddress> take_rerouted() override {
    return dynamic_cast<Upkeep&>(*own_).take_rerouted();
  }

 private:
  struct Place {
    unique_fd handle;
    std::vector<net::HostAddress> addresses;
    std::unique_ptr<Steering> steering;
    std::chrono::steady_clock::time_point last_tracked;
    bool disturbed = false;
    // In a place the rules stay if a permanent redirect needs them, and are removed
    // otherwise.
    ~Place();
  };
  Result<std::unique_ptr<Place>> open(unique_fd handle) const;
  Result<> adopt(std::unique_ptr<Place> place, ino_t inode, std::span<const net::HostAddress> own);
  bool is_our_own(const IpAddress& address) const;
  Place* place_of(const IpAddress& local) const;  // null: our own namespace
  // Returns the items that belong to each namespace.
  template <class Item>
  std::map<Steering*, std::vector<Item>> part(std::span<const Item> items) const;

  void watch(Steering& steering) const;

  std::unique_ptr<Steering> own_;
  unique_fd watch_;         // readable when the fd() of any Upkeep is
  bool disturbed_ = false;  // our own namespace
  ino_t own_inode_ = 0;
  // Opened in our own namespace; works in it from whichever namespace we are called.
  std::unique_ptr<net::Netlink> route_;
  std::map<ino_t, std::unique_ptr<Place>> places_;
  std::map<IpAddress, Place*> places_of_;
};

// Removes everything that a dead daemon of this namespace left in other namespaces.
// Returns the number of namespaces that could not be read.
Result<std::size_t> flush_others();

}  // namespace sockmi::steer
