// Exports endpoints: splits them into batches so that no endpoint stays frozen while
// another one's long queues are transferred.
//
// The endpoints of one part are frozen together until the last one is transferred. Small
// endpoints gain by that, because most of a migration's cost is per batch. Long queues
// would keep the other endpoints waiting, and a message has a maximum size. So the parts
// move one after the other. Each freezes at most kMaxFrozenBytesPerBatch bytes (about
// 2 ms per MiB), or one endpoint or group. A part has endpoints of one kind, because the
// importer reserves slots for one kind. A group is never split.
#pragma once

#include <vector>

#include "migration/export_item.h"
#include "migration/exports.h"

namespace sockmi::daemon {

// Bytes of a part that are transferred in its freeze.
inline constexpr std::size_t kMaxFrozenBytesPerBatch = 4 << 20;
// Bytes of a part that are pre-copied, and wait in the importer's memory (pre_copy.h).
inline constexpr std::size_t kMaxPreCopyBytesPerBatch = 64 << 20;

// Returns the parts, in the order of `items`.
std::vector<std::vector<ExportItem>> shares(std::vector<ExportItem> items);

// Moves endpoints of one service and one owner to `target` (any(): any host that
// accepts). They move as one batch (one search for a host, one message each way, one
// netlink transaction), or as several parts one after the other (see above).
//
// Each endpoint succeeds or fails alone, and each group (wire::Endpoint::group, endpoints
// that follow each other) as a whole. The results are in the order of `items`. An
// endpoint with an error continues on this host as if nothing had happened, except with
// these errors: EINPROGRESS if the importer has not yet said what became of it (the
// socket stays frozen until it has), ECONNABORTED if the importer lost it after its thaw.
// `timeout` bounds the time until the decision; 0: only the configured timeouts apply.
asio::awaitable<std::vector<Result<>>> export_endpoints(Exports& exports,
                                                        std::vector<ExportItem> items,
                                                        IpAddress target,
                                                        milliseconds timeout = {});
asio::awaitable<Result<>> export_endpoint(Exports& exports, ExportItem item, IpAddress target,
                                          milliseconds timeout = {});

}  // namespace sockmi::daemon
