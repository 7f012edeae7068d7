// Request, response, confirm over UDP (multicast, or unicast to static peers): which host takes an endpoint.
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

namespace sockmi::cluster {

namespace asio = boost::asio;
using MigrationId = std::array<std::uint8_t, 16>;

// The i-th endpoint of a batch: the last four bytes count on from the first one's.
MigrationId member(const MigrationId& batch, std::uint32_t i);

struct Offer {                 // REQUEST
  MigrationId id{};            // the first endpoint's
  std::string service;
  User owner;                  // the exporting user
  std::uint8_t state = 0;      // a SOCKMI_* state bit
  FourTuple tuple;
  IpAddress home;              // the endpoint's own address
  std::uint64_t size = 0;      // bytes of the image, about
  IpAddress target;            // any(): whoever will
  std::uint32_t count = 1;     // endpoints in the batch, of which `tuple` is one
};
struct OfferReply {               // RESPONSE, positive
  std::uint32_t waiting_importers = 0, free_places = 0, load_percent = 0;
};
struct SelectedHost {                // what the exporter's search comes back with
  std::string host;
  SocketAddress line;          // where its private line listens
  IpAddress other_address;     // any(): it has none of the line's other family
  // Where packets for `local` are to be redirected: an address of the same family. any(): it has none.
  const IpAddress& address_for(const IpAddress& local) const { return line.ip.family == local.unmapped().family ? line.ip : other_address; }
};
enum class Preference { first, ready_first, least_loaded };

struct PeerInfo {              // for /v1/peers
  std::string host;
  SocketAddress line;
  IpAddress other_address;      // as in SelectedHost
  std::int64_t last_heard_ms_ago = -1;
  bool connected = false;
};

struct DiscoveryConfig {
  std::string interface;        // for multicast
  IpAddress address;            // our own, on that interface
  IpAddress other_address;      // and that of the other family, if there is one
  SocketAddress group;          // default 239.255.77.77:7077
  std::uint16_t line_port = 7078;
  std::vector<SocketAddress> static_peers;  // unicast instead of multicast if not empty
  std::chrono::milliseconds timeout{500};
  Preference preference = Preference::first;
  // Called when another daemon is heard for the first time since it started, or since we did.
  std::function<void(const std::string& host, const SocketAddress& line)> on_start = [](const auto&, const auto&) {};
};

class Discovery {
 public:
  // Asked when a REQUEST for us arrives (must not reserve), and when a CONFIRM does (must reserve; its refusal is sent back too).
  struct OfferHandler {
    virtual ~OfferHandler() = default;
    virtual Result<OfferReply> can_accept(const Offer& offer) = 0;   // an Error's code and reason go back to an explicit asker
    virtual Result<> reserve(const std::string& host, const Offer& offer) = 0;  // for `host`
  };
  static Result<std::unique_ptr<Discovery>> open(asio::io_context& io, const Identity& identity, DiscoveryConfig config, OfferHandler& importer);
  virtual ~Discovery() = default;
  // Finds a host and has it reserve a place. EHOSTUNREACH: nobody answered in time. If all who answered refused, the refusal of the
  // explicit target, or else of the last one to refuse.
  virtual asio::awaitable<Result<SelectedHost>> find(Offer offer) = 0;
  virtual std::vector<std::string> warnings() const = 0;       // about clocks that differ
  // Ours are others now, or are back, perhaps on an interface that was made anew: says so, and joins the group again.
  virtual void addresses_changed(const IpAddress& other_address) = 0;
  virtual std::vector<PeerInfo> peers() const = 0;             // known from HELLO datagrams, sent every few seconds and at start, and responses
};

}  // namespace sockmi::cluster
