// What moves together is frozen together, until the last of it has travelled. Endpoints that have little to say gain by it: what a move costs, it costs
// once. Whose queues are long would keep all others waiting, and a message has an end. So a batch is cut into shares that move one after the other,
// each with no more in its freeze than takes some milliseconds (about two a megabyte), or one endpoint.
#pragma once

#include <vector>

#include "migration/exporter.h"

namespace sockmi::daemon {

inline constexpr std::size_t kMaxFrozenBytesPerBatch = 4 << 20;  // bytes of a share that travel in its freeze
inline constexpr std::size_t kMaxPreCopyBytesPerBatch = 64 << 20;  // bytes that go ahead of it, and wait in the importer's memory (pre_copy.h)

// In the order of the departures.
std::vector<std::vector<ExportItem>> shares(std::vector<ExportItem> departures);

}  // namespace sockmi::daemon
