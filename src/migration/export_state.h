// What the exporter knows of one endpoint, from its departure to the kill.
#pragma once

#include <optional>

#include "migration/exporter.h"
#include "connections/redirects.h"
#include "tcp/capture.h"
#include "tcp/packet_options.h"

namespace sockmi::daemon {

struct Leaving {
  unique_fd socket;
  wire::Endpoint endpoint;
  int asker;
  std::shared_ptr<Token> token;
  FourTuple tuple;
  std::uint64_t cookie = 0;
  wire::MigrationId id{};
  std::optional<tcp::Owner> owner;
  tcp::Wire wire;
  Guard::Hold guarded;  // longer than it is frozen
  tcp::Settings settings;
  std::optional<tcp::Place> began;  // where it stood when the export did: who asked for it waits, so others have done what is done since
  tcp::History history;
  tcp::Ahead ahead;  // what of the receive queue the importer has before PREPARE
  std::optional<tcp::Frozen> frozen;
  wire::LateT late;
  bool finished = false;  // the peer's FIN is in `late`: nothing can come after it
  bool redirected = false, decided = false;
  bool more = false, sealed = false;  // the importer waits for what seal() finds; which has happened
  std::optional<Resident> guest;  // what it was here, if its home is elsewhere; set by the decision
  bool adopted = false;           // an earlier daemon decided it; there may be a mute socket of which no descriptor can be had
  Result<> result;
  Record record;

  bool passive() const { return is_passive(endpoint.state); }

  Leaving(Departure departure)
      : socket(std::move(departure.socket)), endpoint(std::move(departure.endpoint)), asker(departure.asker), token(std::move(departure.token)) {}
  Leaving(Leaving&&) = default;
  // A daemon that stops before the importer has said what became of it leaves it mute: it may live there. The next daemon asks.
  ~Leaving() {
    if (decided && frozen) frozen->leave();
  }
};

wire::LateT to_image(tcp::Late late);
tcp::Late from_image(const wire::LateT& late);
// `late` as a segment of the peer's.
wire::StragglerT straggler_of(const Leaving& one, tcp::Late late);
// The application's other threads could use the socket until now. What they do from here on fails, so COMMIT has all of it, should we die, too.
Result<> hold(const std::filesystem::path& runtime, Leaving& one);
// Counts and logs what became of it.
Result<> report(World& world, Leaving& one);

}  // namespace sockmi::daemon
