#include "migration/batching.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <numeric>

#include "applications/import_queue.h"
#include "migration/export_state.h"
#include "migration/exporter.h"
#include "migration/pre_copy.h"
#include "tcp/queues.h"

namespace sockmi::daemon {
namespace {

struct Load {
  std::size_t frozen = 0, pre_copied = 0;
  Load operator+(const Load& other) const {
    return {frozen + other.frozen, pre_copied + other.pre_copied};
  }
  bool fits() const {
    return frozen <= kMaxFrozenBytesPerBatch && pre_copied <= kMaxPreCopyBytesPerBatch;
  }
};

// Returns the present size of an endpoint's queues. A bound or listening socket has none.
Load load_of(const ExportItem& item) {
  const int fd = item.socket.get();
  const std::size_t unread = tcp::queued(fd, SIOCINQ, "SIOCINQ").value_or(0),
                    unacknowledged = tcp::queued(fd, SIOCOUTQ, "SIOCOUTQ").value_or(0);
  return {item.endpoint.tls.size() + item.endpoint.payload.size() + unacknowledged +
              std::min(unread, kMinPreCopyBytes),
          unread};
}

// An event loop that has stopped destroys its coroutines after the daemon, and so after
// `exports`.
struct UnderWay {
  explicit UnderWay(Exports& exports) : io(exports.services.io), exports(exports) {
    ++exports.under_way;
  }
  ~UnderWay() {
    if (!io.stopped()) --exports.under_way;
  }
  UnderWay(const UnderWay&) = delete;
  asio::io_context& io;
  Exports& exports;
};

}  // namespace

std::vector<std::vector<ExportItem>> shares(std::vector<ExportItem> items) {
  std::vector<std::vector<ExportItem>> out;
  Load load;
  for (auto first = items.begin(); first != items.end();) {
    const auto end = end_of_group(first, items.end());
    const Load own = std::accumulate(
        first, end, Load(),
        [](const Load& sum, const ExportItem& each) { return sum + load_of(each); });
    load = load + own;
    if (out.empty() || !load.fits() ||
        kind_of(first->endpoint.state) != kind_of(out.back().back().endpoint.state)) {
      out.emplace_back();
      load = own;
    }
    std::move(first, end, std::back_inserter(out.back()));
    first = end;
  }
  return out;
}

asio::awaitable<std::vector<Result<>>> export_endpoints(Exports& exports,
                                                        std::vector<ExportItem> items,
                                                        IpAddress target, milliseconds timeout) {
  const auto decide_by = timeout.count() > 0 ? Clock::now() + timeout : Clock::time_point::max();
  const UnderWay counted(exports);
  std::vector<Result<>> results;
  const ExportMore export_more = [&exports](std::vector<ExportItem> more, IpAddress to) {
    return export_endpoints(exports, std::move(more), to);
  };
  Result<> found;
  for (auto& share : shares(std::move(items))) {
    auto batch =
        co_await export_batch(exports, std::move(share), target, decide_by, export_more, found);
    for (auto& one : batch)
      results.push_back(report(exports.services, one));
  }
  co_return results;
}

asio::awaitable<Result<>> export_endpoint(Exports& exports, ExportItem item, IpAddress target,
                                          milliseconds timeout) {
  std::vector<ExportItem> one;
  one.push_back(std::move(item));
  auto results = co_await export_endpoints(exports, std::move(one), target, timeout);
  co_return std::move(results.front());
}

}  // namespace sockmi::daemon
