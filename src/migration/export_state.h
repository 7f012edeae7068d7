// What the exporter knows of one endpoint, from its departure to the kill.
#pragma once

#include <optional>

#include "migration/exporter.h"
#include "connections/redirects.h"
#include "tcp/capture.h"
#include "tcp/packet_options.h"

namespace sockmi::daemon {

struct ExportedEndpoint {
  unique_fd socket;
  wire::Endpoint endpoint;
  int asker;
  std::shared_ptr<Token> token;
  FourTuple tuple;
  std::uint64_t cookie = 0;
  wire::MigrationId id{};
  std::optional<tcp::OriginalOptions> owner;
  tcp::Wire wire;
  CrashGuard::Lease guarded;  // longer than it is frozen
  tcp::Settings settings;
  std::optional<tcp::Place> began;  // where it stood when the export did: who asked for it waits, so others have done what is done since
  tcp::History history;
  tcp::PreCopyRange ahead;  // what of the receive queue the importer has before PREPARE
  std::optional<tcp::FrozenSocket> frozen;
  wire::FreezeDeltaT late;
  bool finished = false;  // the peer's FIN is in `late`: nothing can come after it
  bool redirected = false, decided = false;
  bool more = false, sealed = false;  // the importer waits for what seal() finds; which has happened
  std::optional<ImportedConnection> guest;  // what it was here, if its home is elsewhere; set by the decision
  bool adopted = false;           // an earlier daemon decided it; there may be a mute socket of which no descriptor can be had
  Result<> result;
  Record record;

  bool passive() const { return is_passive(endpoint.state); }

  ExportedEndpoint(ExportItem departure)
      : socket(std::move(departure.socket)), endpoint(std::move(departure.endpoint)), asker(departure.asker), token(std::move(departure.token)) {}
  ExportedEndpoint(ExportedEndpoint&&) = default;
  // A daemon that stops before the importer has said what became of it leaves it mute: it may live there. The next daemon asks.
  ~ExportedEndpoint() {
    if (decided && frozen) frozen->leave();
  }
};

wire::FreezeDeltaT to_image(tcp::FreezeDelta late);
tcp::FreezeDelta from_image(const wire::FreezeDeltaT& late);
// `late` as a segment of the peer's.
wire::StragglerT straggler_of(const ExportedEndpoint& one, tcp::FreezeDelta late);
// The application's other threads could use the socket until now. What they do from here on fails, so COMMIT has all of it, should we die, too.
Result<> hold(const std::filesystem::path& runtime, ExportedEndpoint& one);
// Counts and logs what became of it.
Result<> report(World& world, ExportedEndpoint& one);

}  // namespace sockmi::daemon
