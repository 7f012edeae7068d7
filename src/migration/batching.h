// Splits a batch so that no endpoint stays frozen while another one's long queues are
// transferred.
//
// The endpoints of one part are frozen together until the last one is transferred. Small
// endpoints gain by that, because most of a migration's cost is per batch. Long queues
// would keep the other endpoints waiting, and a message has a maximum size. So the parts
// move one after the other. Each freezes at most kMaxFrozenBytesPerBatch bytes (about
// 2 ms per MiB), or one endpoint.
#pragma once

#include <vector>

#include "migration/exporter.h"

namespace sockmi::daemon {

// Bytes of a part that are transferred in its freeze.
inline constexpr std::size_t kMaxFrozenBytesPerBatch = 4 << 20;
// Bytes of a part that are pre-copied, and wait in the importer's memory (pre_copy.h).
inline constexpr std::size_t kMaxPreCopyBytesPerBatch = 64 << 20;

// Returns the parts, in the order of `departures`.
std::vector<std::vector<ExportItem>> shares(std::vector<ExportItem> departures);

}  // namespace sockmi::daemon
