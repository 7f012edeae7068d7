#include "migration/batching.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <algorithm>

#include "migration/pre_copy.h"
#include "tcp/queues.h"

namespace sockmi::daemon {
namespace {

struct Load {
  std::size_t frozen = 0, ahead = 0;
  Load operator+(const Load& other) const { return {frozen + other.frozen, ahead + other.ahead}; }
  bool fits() const {
    return frozen <= kMaxFrozenBytesPerBatch && ahead <= kMaxPreCopyBytesPerBatch;
  }
};

// Returns the present size of an endpoint's queues. A bound or listening socket has none.
Load load_of(const ExportItem& departure) {
  const int fd = departure.socket.get();
  const std::size_t unread = tcp::queued(fd, SIOCINQ, "SIOCINQ").value_or(0),
                    unacknowledged = tcp::queued(fd, SIOCOUTQ, "SIOCOUTQ").value_or(0);
  return {departure.endpoint.tls.size() + departure.endpoint.payload.size() + unacknowledged +
              std::min(unread, kMinPreCopyBytes),
          unread};
}

}  // namespace

std::vector<std::vector<ExportItem>> shares(std::vector<ExportItem> departures) {
  std::vector<std::vector<ExportItem>> out;
  Load load;
  for (ExportItem& departure : departures) {
    const Load own = load_of(departure);
    load = load + own;
    if (out.empty() || !load.fits()) {
      out.emplace_back();
      load = own;
    }
    out.back().push_back(std::move(departure));
  }
  return out;
}

}  // namespace sockmi::daemon
