// COMMIT: what was decided is said until it is answered. Nobody gives up from here on.
#pragma once

#include <memory>
#include <vector>

#include "broker/event.h"
#include "broker/world.h"

namespace sockmi::broker {

struct Commitment {
  Commitment(const asio::any_io_executor& executor, std::vector<image::Committed> endpoints)
      : endpoints(std::move(endpoints)), answered(executor), killed(executor) {}
  const std::vector<image::Committed> endpoints;
  Event answered;
  Clock::time_point thawed;  // at the importer, by our clock, once it is answered
  Event killed;              // to be set when the old sockets are gone: until then our guard asks the journal, should we die, what to do with them
};

// Ends when both have happened, and the journal knows.
asio::awaitable<void> repeat_commit(World& world, peer::Choice importer, std::shared_ptr<Commitment> commitment);

}  // namespace sockmi::broker
