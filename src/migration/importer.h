// The importer's half of a migration, from an offer to the endpoint on the ready list.
#pragma once

#include "connections/unheard_peers.h"
#include "migration/export_state.h"
#include "migration/outcomes.h"
#include "migration/pre_copy.h"
#include "migration/reservations.h"
#include "migration/late_writes.h"
#include "migration/stragglers.h"
#include "context/world.h"
#include "tcp/restore.h"

namespace sockmi::daemon {

class Importer : public cluster::Discovery::OfferHandler {
 public:
  explicit Importer(World& world) : world_(world), hearing_(world.io), rests_(world.io), outcomes_(world.journal) {}

  // What earlier daemons thawed. `alive`: the cookies of all sockets.
  void adopt(const std::set<std::uint64_t>& alive) { outcomes_.adopt(alive); }
  const UnheardPeers& hearing() const { return hearing_; }

  Result<cluster::OfferReply> can_accept(const cluster::Offer& offer) override;
  Result<> reserve(const std::string& host, const cluster::Offer& offer) override;

  // PREPARE comes next, for endpoints of these addresses. What can be done before the freeze, is.
  Result<> expect(const std::string& host);
  // Of the receive queue of one of them. Reservations last longer by it.
  Result<> receive_pre_copy(const wire::MigrationId& id, const std::string& host, ByteView bytes);
  // The three things an exporter may say. All may be repeated. `ahead`: what of the receive queue was sent ahead. A verdict of commit() says what
  // became of the endpoint (see outcomes.h); abort(): forget it, and if it has thawed, that it has.
  Result<> prepare(const wire::MigrationId& id, const std::string& host, const SocketAddress& line, wire::Endpoint endpoint, std::uint32_t ahead);
  std::vector<Result<>> commit(const std::vector<wire::Committed>& endpoints, const std::string& host);
  void abort(const wire::MigrationId& id, const std::string& host);
  // For a daemon that stops: what nobody has prepared yet is not begun, and some may not be decided yet.
  void refuse_reserved();
  bool in_doubt() const { return !prepared_.empty() || !rests_.empty(); }
  // What others did to the exporter's socket after COMMIT; nobody has the endpoint before that is said.
  Result<> rest(const std::string& host, const wire::MigrationId& id, const wire::FreezeDeltaT& late) { return rests_.take(id, host, from_image(late)); }
  // And one that it may add: what it found when the endpoint was committed already.
  Result<> receive(const std::string& host, const wire::StragglerT& straggler);

 private:
  struct PreparedEndpoint {
    std::optional<tcp::RestoredSocket> socket;
    unique_fd passive;  // one of the two
    wire::Endpoint endpoint;
    std::string host;
    SocketAddress line;
    std::uint64_t cookie = 0;
    std::optional<RemoteConnection> was_away;  // before COMMIT came
  };
  bool comes_home(const wire::Endpoint& endpoint) const { return endpoint.home == world_.settings.host; }
  Result<> check_peer(const FourTuple& tuple) const;
  Result<> restore(PreparedEndpoint& prepared);
  Result<PreparedEndpoint*> find(const wire::MigrationId& id, const std::string& host);
  Result<> verdict(const wire::MigrationId& id, const wire::FreezeDeltaT& late, const std::string& host, const Result<>& may_thaw);
  Result<> thaw(const wire::MigrationId& id, const wire::FreezeDeltaT& late);
  using Settled = std::tuple<wire::MigrationId, PreparedEndpoint, unique_fd>;
  void settle(Settled& settled);
  void discard(const wire::MigrationId& id, const std::string& why);
  void redirect_again(const FourTuple& tuple, const std::optional<RemoteConnection>& was_away);
  Result<> decide(const wire::MigrationId& id, Decide how);
  Result<> decide_by_operator(const wire::MigrationId& id, Decide how);
  asio::awaitable<void> expire(std::shared_ptr<Reservations::Batch> batch, std::vector<wire::MigrationId> ids);
  void release(const wire::MigrationId& id);
  asio::awaitable<void> resolve_in_doubt(wire::MigrationId id);

  World& world_;
  UnheardPeers hearing_;
  LateWrites rests_;
  std::map<wire::MigrationId, PreparedEndpoint> prepared_;
  Reservations reserved_;                             // not prepared yet
  PreCopies pre_copies_;                              // of these alone
  Stragglers stragglers_;
  Outcomes outcomes_;
};

}  // namespace sockmi::daemon
