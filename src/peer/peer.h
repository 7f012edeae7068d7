// The other daemons: who they are, which of them takes an endpoint, and a private line to each. Knows nothing of images.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include "base/address.h"
#include "base/error.h"
#include "base/secret.h"

namespace sockmi::peer {

namespace asio = boost::asio;
using MigrationId = std::array<std::uint8_t, 16>;

// --- identity.h: the cluster's CA and what a host holds of it -------------------------------------------------------------------------
// A cluster folder: ca.crt, ca.key, cluster.key (32 random bytes, hex: authenticates datagrams). A host folder: ca.crt, host.crt,
// host.key, cluster.key. Keys are mode 0600. Host certificates: CN = host name, SAN DNS:name, EKU client and server.
Result<> init_cluster(const std::filesystem::path& folder);                       // EEXIST: never overwrites
Result<> issue_host(const std::filesystem::path& cluster, const std::string& host, const std::filesystem::path& out);

struct Identity {
  std::string host;  // the CN of host.crt
  std::filesystem::path folder;
  Secret cluster_key;
  static Result<Identity> load(const std::filesystem::path& folder);
};

// --- negotiation.h: request, response, confirm over UDP (multicast, and unicast to static peers) --------------------------------------
struct Offer {                 // REQUEST
  MigrationId id{};
  std::string service, owner;  // owner: the exporting user's name
  std::uint8_t state = 0;      // a SOCKMI_* state bit
  FourTuple tuple;
  IpAddress home;              // the endpoint's own address
  std::uint64_t size = 0;      // bytes of the image, about
  IpAddress target;            // any(): whoever will
};
struct Willing {               // RESPONSE, positive
  std::uint32_t waiting_importers = 0, free_places = 0, load_percent = 0;
};
struct Choice {                // what the exporter's search comes back with
  std::string host;
  SocketAddress line;          // where its private line listens
  IpAddress address;           // where packets are to be redirected
};
enum class Preference { first, ready_first, least_loaded };

struct PeerInfo {              // for /v1/peers
  std::string host;
  SocketAddress line;
  std::int64_t last_heard_ms_ago = -1;
  bool connected = false;
};

struct NegotiationConfig {
  std::string interface;        // for multicast
  IpAddress address;            // our own, on that interface
  SocketAddress group;          // default 239.255.77.77:7077
  std::uint16_t line_port = 7078;
  std::vector<SocketAddress> static_peers;  // unicast instead of multicast if not empty
  std::chrono::milliseconds timeout{500};
  Preference preference = Preference::first;
};

class Negotiation {
 public:
  // Asked when a REQUEST for us arrives (must not reserve), and when a CONFIRM does (must reserve; its refusal is sent back too).
  struct Importer {
    virtual ~Importer() = default;
    virtual Result<Willing> willing(const Offer& offer) = 0;   // an Error's code and reason go back to an explicit asker
    virtual Result<> reserve(const Offer& offer) = 0;
  };
  static Result<std::unique_ptr<Negotiation>> open(asio::io_context& io, const Identity& identity, NegotiationConfig config, Importer& importer);
  virtual ~Negotiation() = default;
  // Finds a host and has it reserve a place. EHOSTUNREACH: nobody answered in time. If all who answered refused, the refusal of the
  // explicit target, or else of the last one to refuse.
  virtual asio::awaitable<Result<Choice>> find(Offer offer) = 0;
  virtual std::vector<PeerInfo> peers() const = 0;             // known from HELLO datagrams, sent every few seconds and at start, and responses
};

// --- transfer.h: a private line to each peer, mutual TLS 1.3 -------------------------------------------------------------------------
class Transfer {
 public:
  // Answers one message of an authenticated peer.
  using Handler = std::function<asio::awaitable<Secret>(std::string host, Secret message)>;
  static Result<std::unique_ptr<Transfer>> open(asio::io_context& io, const Identity& identity, SocketAddress listen, Handler handler);
  virtual ~Transfer() = default;
  // Opens the line if it is not open yet, so that a later call() finds it open. The peer's certificate must be `host`'s.
  virtual asio::awaitable<Result<>> connect(std::string host, SocketAddress line) = 0;
  // One request, one response; many at a time over one line. ETIMEDOUT, ECONNRESET (line lost), EHOSTUNREACH. At most 256 MiB.
  virtual asio::awaitable<Result<Secret>> call(std::string host, SocketAddress line, Secret message, std::chrono::milliseconds timeout) = 0;
  virtual bool connected(const std::string& host) const = 0;
};

}  // namespace sockmi::peer
