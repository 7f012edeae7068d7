// The importer's half of a migration: from an offer to the endpoint in the import queue.
#pragma once

#include "applications/import_queue.h"
#include "congestion/cwnd_carrier.h"
#include "connections/connections.h"
#include "connections/unheard_peers.h"
#include "migration/export_state.h"
#include "migration/late_writes.h"
#include "migration/outcomes.h"
#include "migration/pre_copy.h"
#include "migration/reservations.h"
#include "migration/stragglers.h"
#include "tcp/restore.h"

namespace sockmi::daemon {

class Importer : public cluster::Discovery::OfferHandler {
 public:
  // `congestion`: carries the windows of restored sockets.
  Importer(Connections& connections, ImportQueue& import_queue,
           const congestion::CwndCarrier& congestion)
      : connections_(connections),
        services_(connections.services),
        table_(connections.table),
        rules_(connections.rules),
        import_queue_(import_queue),
        congestion_(congestion),
        unheard_peers_(services_.io),
        late_writes_(services_.io),
        outcomes_(table_) {}

  // Loads the outcomes of the endpoints that earlier daemons thawed. `alive`: the cookies
  // of all sockets.
  void adopt(const std::set<std::uint64_t>& alive) { outcomes_.adopt(alive); }
  const UnheardPeers& unheard_peers() const { return unheard_peers_; }

  // While the host is draining it accepts no offers, except of endpoints whose home it is
  // and which no application imports where they are.
  void set_draining(bool draining) { draining_ = draining; }

  Result<cluster::OfferReply> can_accept(const cluster::Offer& offer) override;
  Result<> reserve(const std::string& host, const cluster::Offer& offer) override;

  // Enters low-latency mode, because PREPARE follows. Errors: ENOBUFS if `host` has no
  // reservation here.
  Result<> standby(const std::string& host);
  // Adds to the receive queue of a reserved endpoint. Prolongs its reservation.
  Result<> receive_pre_copy(const wire::MigrationId& id, const std::string& host, ByteView bytes);
  // The three messages of the migration itself. All of them may be repeated.
  // `pre_copied`: the number of bytes of the receive queue that were pre-copied. A
  // verdict of commit() says what became of the endpoint (see outcomes.h). abort()
  // discards the endpoint or its reservation; if the endpoint has thawed, it drops the
  // record of that.
  std::vector<Result<>> prepare(const std::string& host, const SocketAddress& control_address,
                                std::vector<wire::IncomingImage> images);
  std::vector<Result<>> commit(const std::vector<wire::Committed>& endpoints,
                               const std::string& host);
  void abort(const wire::MigrationId& id, const std::string& host);
  // For a daemon that stops: releases the reservations that are not prepared yet.
  // Prepared endpoints may still be undecided (in_doubt()).
  void refuse_reserved();
  bool in_doubt() const { return !prepared_.empty() || !late_writes_.empty(); }
  // The late writes, and what else other threads did to the exporter's socket since the
  // decision. No application gets the endpoint before this has arrived.
  Result<> late_write(const std::string& host, const wire::MigrationId& id,
                      const wire::FreezeDeltaT& delta) {
    return late_writes_.take(id, host, from_image(delta));
  }
  // A straggler: a segment that arrived at the exporter after the endpoint was committed.
  Result<> receive(const std::string& host, const wire::StragglerT& straggler);

 private:
  // The endpoints that thaw or are discarded together: a group, or one endpoint alone.
  struct Group {
    explicit Group(std::vector<wire::MigrationId> ids) : ids(std::move(ids)) {}
    const std::vector<wire::MigrationId> ids;  // in the order of PREPARE
    // Those that have thawed, and wait for the late writes of the others.
    std::map<wire::MigrationId, ReadyEndpoint> ready;
  };
  struct PreparedEndpoint {
    std::optional<tcp::RestoredSocket> socket;
    unique_fd passive;  // set for a bound or listening socket; else `socket` is set
    wire::Endpoint endpoint;
    std::string host;
    SocketAddress control_address;
    std::uint64_t cookie = 0;
    std::optional<RemoteConnection> was_away;  // before COMMIT arrived
    std::shared_ptr<Group> group;
  };
  using Deltas = std::map<wire::MigrationId, const wire::FreezeDeltaT*>;
  bool comes_home(const wire::Endpoint& endpoint) const {
    return endpoint.home == services_.settings.host;
  }
  Result<> check_peer(const FourTuple& tuple) const;
  bool returns_unclaimed(const cluster::Offer& offer) const {
    const RemoteConnection* away = table_.find_remote(offer.tuple);
    return offer.unclaimed && away && away->home == services_.settings.host;
  }
  Result<> restore(PreparedEndpoint& prepared);
  Result<PreparedEndpoint*> find(const wire::MigrationId& id, const std::string& host);
  Result<> prepare_one(const std::string& host, const SocketAddress& control_address,
                       wire::IncomingImage& image);
  std::vector<std::shared_ptr<Group>> committed(const Deltas& deltas, const std::string& host);
  Result<> log_thaw(const std::vector<std::shared_ptr<Group>>& groups, const std::string& host);
  void attract(const std::vector<std::shared_ptr<Group>>& groups);
  Result<> verdict(const wire::MigrationId& id, const std::string& host);
  Result<> thaw(const Group& together, const Deltas& deltas);
  Result<> never_thawed(const Group& together, const Error& why);
  Result<> thaw_failed(const Group& together, std::vector<unique_fd> live, Outcome outcome,
                       const Error& why);
  void thawed(const wire::MigrationId& id, unique_fd socket, const wire::FreezeDeltaT& delta);
  using Settled = std::tuple<wire::MigrationId, PreparedEndpoint, unique_fd>;
  void settle(Settled& settled);
  void discard(const wire::MigrationId& id, const std::string& why);
  void discard(const Group& together, const std::string& why);
  void redirect_again(const FourTuple& tuple, const std::optional<RemoteConnection>& was_away);
  Result<> decide(const wire::MigrationId& id, Decide how);
  Result<> decide_by_operator(const wire::MigrationId& id, Decide how);
  asio::awaitable<void> expire(std::shared_ptr<Reservations::Batch> batch,
                               std::vector<wire::MigrationId> ids);
  void release(const wire::MigrationId& id);
  asio::awaitable<int> ask_outcome(std::shared_ptr<const Group> together);
  asio::awaitable<void> resolve_in_doubt(std::shared_ptr<const Group> together);

  Connections& connections_;
  const Services& services_;
  ConnectionTable& table_;
  ForeignRules& rules_;
  ImportQueue& import_queue_;
  const congestion::CwndCarrier& congestion_;
  UnheardPeers unheard_peers_;
  LateWrites late_writes_;
  std::map<wire::MigrationId, PreparedEndpoint> prepared_;
  Reservations reserved_;  // not prepared yet
  PreCopies pre_copies_;   // of reserved endpoints only
  Stragglers stragglers_;
  Outcomes outcomes_;
  bool draining_ = false;
};

}  // namespace sockmi::daemon
