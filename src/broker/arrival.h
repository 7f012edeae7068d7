// The importer's half of a migration, from an offer to the endpoint on the ready list.
#pragma once

#include "broker/world.h"
#include "tcp/restore.h"

namespace sockmi::broker {

class Arrivals : public peer::Negotiation::Importer {
 public:
  explicit Arrivals(World& world) : world_(world) {}

  Result<peer::Willing> willing(const peer::Offer& offer) override;
  Result<> reserve(const peer::Offer& offer) override;

  // The three things an exporter may say. All may be repeated.
  Result<> prepare(const image::MigrationId& id, const std::string& host, const SocketAddress& line, image::Endpoint endpoint);
  Result<> commit(const image::MigrationId& id, const std::string& host);
  void abort(const image::MigrationId& id, const std::string& host);

 private:
  struct Prepared {
    tcp::Restored socket;
    image::Endpoint endpoint;
    std::string host;
    SocketAddress line;
    std::uint64_t attempt;  // tells a re-captured endpoint from its first try
  };
  bool comes_home(const image::Endpoint& endpoint) const { return endpoint.home == world_.settings.host; }
  void discard(const image::MigrationId& id, const std::string& why);
  asio::awaitable<void> expire_reservation(image::MigrationId id);
  asio::awaitable<void> resolve_doubt(image::MigrationId id, std::uint64_t attempt);

  World& world_;
  std::uint64_t attempts_ = 0;
  std::map<image::MigrationId, Prepared> prepared_;
  std::map<image::MigrationId, bool> reserved_;       // reserved, not prepared yet
  std::set<image::MigrationId> committed_;            // so that a repeated COMMIT is answered again
  std::deque<image::MigrationId> committed_order_;
};

}  // namespace sockmi::broker
