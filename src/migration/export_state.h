// The exporter's state of one endpoint, from the start of the export to the destruction
// of the old socket.
#pragma once

#include <optional>
#include <span>

#include "connections/records.h"
#include "context/services.h"
#include "migration/crash_guard.h"
#include "migration/export_item.h"
#include "tcp/capture.h"
#include "tcp/packet_options.h"

namespace sockmi::daemon {

struct ExportedEndpoint {
  unique_fd socket;
  wire::Endpoint endpoint;
  int asker;
  std::shared_ptr<Token> token;
  bool unclaimed;
  FourTuple tuple;
  std::uint64_t cookie = 0;
  wire::MigrationId id{};
  std::optional<tcp::OriginalOptions> owner;
  tcp::Wire wire;
  CrashGuard::Lease guarded;  // held longer than the endpoint is frozen
  tcp::Settings settings;
  // The stream position at the start of the export. The caller of the export waits for
  // it, so if the position changes after that, another thread has used the socket.
  std::optional<tcp::Place> began;
  tcp::History history;
  tcp::PreCopyRange
      pre_copied;  // the part of the receive queue that the importer has before PREPARE
  std::optional<tcp::FrozenSocket> frozen;
  wire::FreezeDeltaT delta;
  bool finished = false;  // the peer's FIN is in `delta`: nothing can follow it
  bool redirected = false, decided = false;
  // `more`: the importer waits for the result of seal(). `sealed`: seal() has been
  // called.
  bool more = false, sealed = false;
  // The imported connection that this endpoint was here, if its home is elsewhere; set by
  // the decision.
  std::optional<ImportedConnection> imported;
  // An earlier daemon decided it. There may be an output-blocked socket of which no
  // descriptor can be had.
  bool adopted = false;
  Result<> result;
  Record record;

  bool passive() const { return is_passive(endpoint.state); }
  // An earlier boot's daemon decided it, and its socket is gone.
  bool ended_with_boot() const { return adopted && cookie == 0; }

  ExportedEndpoint(ExportItem item)
      : socket(std::move(item.socket)),
        endpoint(std::move(item.endpoint)),
        asker(item.asker),
        token(std::move(item.token)),
        unclaimed(item.unclaimed) {}
  ExportedEndpoint(ExportedEndpoint&&) = default;
  // If the daemon stops before the importer has said what became of a decided endpoint,
  // the socket stays output-blocked, because the endpoint may live there. The next daemon
  // asks.
  ~ExportedEndpoint() {
    if (decided && frozen) frozen->leave();
  }
};

wire::FreezeDeltaT to_image(tcp::FreezeDelta delta);
tcp::FreezeDelta from_image(const wire::FreezeDeltaT& delta);
// `delta` as a segment sent by the peer.
wire::StragglerT straggler_of(const ExportedEndpoint& one, tcp::FreezeDelta delta);
// Takes what other threads of the application did to the socket until now into
// `one.delta`, and makes their calls fail from here on, so that COMMIT has all of it.
// Stores in `runtime` what only COMMIT carries, for the next daemon if this one dies.
Result<> hold(const std::filesystem::path& runtime, ExportedEndpoint& one);
// If an endpoint of the group stays here, the others stay, too.
void keep_together(std::span<ExportedEndpoint> group);
// The error of an endpoint whose application has taken the token.
Result<> given_up();
// Counts and logs the outcome of the export; adds it to the history. Returns one.result.
Result<> report(const Services& services, ExportedEndpoint& one);

}  // namespace sockmi::daemon
