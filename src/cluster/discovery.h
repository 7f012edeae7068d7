// Finds a host that takes an endpoint: request, response and confirm over UDP (multicast,
// or unicast to a list of hosts).
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include "base/address.h"
#include "base/user.h"
#include "cluster/identity.h"
#include "cluster/offer.h"

namespace sockmi::cluster {

namespace asio = boost::asio;
enum class Preference { first, ready_first, least_loaded };

struct HostInfo {  // for /v1/hosts
  std::string host;
  SocketAddress control_address;
  IpAddress other_address;  // as in SelectedHost
  std::int64_t last_heard_ms_ago = -1;
  bool connected = false;
  bool draining = false;  // it imports nothing new
};

struct DiscoveryConfig {
  std::string interface;    // for multicast
  IpAddress address;        // our own, on that interface
  IpAddress other_address;  // our own of the other family, if there is one
  SocketAddress group;      // default 239.255.77.77:7077
  std::uint16_t control_port = 7078;
  std::vector<SocketAddress> hosts;  // if not empty: unicast to these, no multicast
  std::chrono::milliseconds timeout{500};
  Preference preference = Preference::first;
  // Called on the first datagram of another daemon since that daemon or this one started.
  std::function<void(const std::string& host, const SocketAddress& control_address)> on_start =
      [](const auto&, const auto&) {
      };
};

class Discovery {
 public:
  // The importer's decisions. can_accept() is called when a REQUEST for us arrives and
  // must not reserve. reserve() is called when a CONFIRM arrives and must reserve; its
  // refusal is sent back too.
  struct OfferHandler {
    virtual ~OfferHandler() = default;
    // An error's code and reason are sent back.
    virtual Result<OfferReply> can_accept(const Offer& offer) = 0;
    // Reserves for the exporter `host`.
    virtual Result<> reserve(const std::string& host, const Offer& offer) = 0;
  };
  static Result<std::unique_ptr<Discovery>> open(asio::io_context& io, const Identity& identity,
                                                 DiscoveryConfig config, OfferHandler& importer);
  virtual ~Discovery() = default;
  // Finds a host and makes it reserve a slot. Errors: EHOSTUNREACH if no host answers in
  // time. If all hosts that answered refuse: the refusal of the explicit target,
  // otherwise the refusal of the last host to refuse.
  virtual asio::awaitable<Result<SelectedHost>> find(Offer offer) = 0;
  // Asks all hosts whether they accept the offer, which reserves nothing. Returns what
  // they have answered when all have, or when the time is over.
  virtual asio::awaitable<std::vector<HostAnswer>> survey(Offer offer) = 0;
  // From now on, tells other hosts whether this host is draining.
  virtual void set_draining(bool draining) = 0;
  // About clocks that differ, and other versions of datagrams.
  virtual std::vector<std::string> warnings() const = 0;
  // Handles a change of this host's addresses: joins the multicast group again (the
  // interface may have been created again) and announces the addresses.
  virtual void addresses_changed(const IpAddress& other_address) = 0;
  // The hosts of which a valid datagram has been received: a HELLO (sent at start and
  // every 5 s) or any other.
  virtual std::vector<HostInfo> hosts() const = 0;
  // Finds one of them by its name or its address. Errors: EHOSTUNREACH.
  Result<HostInfo> find_host(const std::string& name_or_address) const;
};

}  // namespace sockmi::cluster
