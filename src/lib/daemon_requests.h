// What both libraries ask of the daemon, in terms of the C API's structures.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <span>
#include <vector>

#include <sockmi/sockmi.h>

#include "base/error.h"
#include "base/secret.h"
#include "base/unique_fd.h"

namespace sockmi::lib {

struct ExportItem {
  int fd;  // borrowed
  unsigned state;
  ByteView tls, payload;
};
// Moves them together, as far as one request carries them. `settle` is called for each, by its index.
void export_endpoints(std::span<const ExportItem> all, int af, const void* to, const sockmi_export_options& options,
                      const std::function<void(std::size_t, Result<>)>& settle);
Result<> export_endpoint(int fd, unsigned state, int af, const void* to, ByteView tls, const sockmi_export_options* options);

struct ImportCriteria {
  const sockmi_criteria* criteria;
  unsigned states, preferred;
};
struct ImportedEndpoint {
  std::size_t wish;  // index of the one it meets
  unsigned state;
  unique_fd socket;
  ByteView tls, payload;
};
// Waits for endpoints and gives each to `accept`, which says whether it could use it; those it could not stay with the daemon, which is told why, for
// others. Returns how many it could; 0 on timeout. `give_up`, by the wish's index: what `accept` took is not ours after all.
Result<unsigned> import_endpoints(const std::vector<ImportCriteria>& wishes, int timeout, const std::function<Result<>(ImportedEndpoint)>& accept,
                                  const std::function<void(std::size_t)>& give_up);

void* copy_payload(ByteView payload);  // malloc(3)ed; null if empty

// What a request of the C API holds once it is met.
template <class Request>
void clear(Request& request) {
  request.fd = -1;
  request.payload = nullptr;
  request.payload_len = 0;
}
template <class Request>
void give_up(Request& request) {
  if (request.fd >= 0) ::close(request.fd);
  std::free(request.payload);
  clear(request);
}

}  // namespace sockmi::lib
