// The message by which endpoints are exported or handed over, and its answer.
#pragma once

#include <chrono>
#include <span>
#include <vector>

#include "lib/export_batches.h"
#include "lib/http_client.h"

namespace sockmi::lib {

// How long the daemon has for one request, if the application has not set a time limit.
inline constexpr std::chrono::milliseconds kExport{60'000};
// The daemon has the same deadline, and its answer says more about what was wrong. So we
// wait this much longer.
inline constexpr std::chrono::milliseconds kReplyMargin{1000};

// Returns no bytes if there is no address. Errors: EINVAL if the family is not known.
Result<ByteView> address_bytes(int af, const void* address);
Result<Secret> pack_export(std::span<const ExportItem> all, int af, const void* to,
                           const char* service_name, std::chrono::milliseconds timeout);
// Returns a result for each of `count` endpoints. Errors: EBADMSG.
Result<std::vector<Result<>>> read_results(const Reply& reply, std::size_t count);

}  // namespace sockmi::lib
