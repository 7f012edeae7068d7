// Finds the host to which endpoints move.
#pragma once

#include <vector>

#include "base/backoff.h"
#include "cluster/cluster.h"
#include "context/services.h"
#include "migration/export_state.h"

namespace sockmi::daemon {

// Finds a host that accepts `count` endpoints like `those`, and that reserves places for
// them. `id`: that of the first of all.
asio::awaitable<Result<cluster::SelectedHost>> find_host(const Services& services,
                                                         std::vector<ExportedEndpoint*> those,
                                                         wire::MigrationId id, std::size_t count,
                                                         IpAddress target);

// An endpoint moves on while the notice to home of its previous move is under way. Home
// refuses it (EBUSY) until the notice has arrived, and a host that it left before does
// until home has confirmed that. They are asked again until then, for a short time.
class NoticePatience {
 public:
  explicit NoticePatience(Clock::time_point decide_by)
      : give_up_(std::min(Clock::now() + kLongest, decide_by)) {}
  // Keeps those that were refused so, and waits a moment. Returns false if there are
  // none, or if the time is over.
  asio::awaitable<bool> should_ask_again(std::vector<ExportedEndpoint*>& those);

 private:
  static constexpr milliseconds kLongest{1000};  // a reservation lasts for longer
  Clock::time_point give_up_;
  Backoff pauses_{milliseconds(5), milliseconds(80)};
};

// Asks the importer whether the endpoints could live there, and sets `result`. The query
// fills packets as large as the peer's. Afterwards the kernel knows the MTU of the path
// to the importer.
asio::awaitable<void> try_paths(const Services& services, cluster::SelectedHost importer,
                                std::vector<ExportedEndpoint*> those, Clock::time_point decide_by);

}  // namespace sockmi::daemon
