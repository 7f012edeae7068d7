// Requests to the daemon that both libraries make, in terms of the C API's structures.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <span>
#include <vector>

#include <sockmi/sockmi.h>

#include "base/error.h"
#include "base/secret.h"
#include "base/unique_fd.h"
#include "lib/export_batches.h"

namespace sockmi::lib {

// Exports endpoints, as many together as one request can carry; those of a group always.
void export_endpoints(const ExportCall& call, int af, const void* to,
                      const sockmi_export_options& options);
Result<> export_endpoint(int fd, unsigned state, int af, const void* to, Secret tls,
                         const sockmi_export_options* options);

struct ImportCriteria {
  const sockmi_criteria* criteria;
  unsigned states, preferred;
};
struct ImportedEndpoint {
  std::size_t request;  // index of the criteria that it matches
  unsigned state;
  unique_fd socket;
  ByteView tls, payload;
  std::uint64_t group;  // 0: none
};
// Waits for endpoints and passes each to `accept`, which returns whether it could use it.
// An endpoint that it could not use stays with the daemon for other importers, and its
// group with it; the daemon receives the reason. Calls `give_up` with the index of the
// criteria if an endpoint that `accept` has used is not ours after all. `timeout` is in
// milliseconds; negative: none. Returns how many endpoints were imported, 0 on timeout.
Result<unsigned> import_endpoints(const std::vector<ImportCriteria>& criteria, int timeout,
                                  const std::function<Result<>(ImportedEndpoint)>& accept,
                                  const std::function<void(std::size_t)>& give_up);

// A later version of the library may give a reserved field of a C API structure a
// meaning. This version refuses what it does not know. Errors: EINVAL.
template <class Struct>
Result<> check_reserved(const Struct& one) {
  if (std::ranges::all_of(one.reserved, [](auto part) { return part == 0; })) return {};
  return fail(EINVAL, "invalid reserved field: not zero");
}

// Checks the options of an export, and whether its target fits them. Errors: EINVAL.
Result<> check_options(const sockmi_export_options& options, int af, const void* to);

// Returns a copy that is allocated by malloc(3); null if the payload is empty.
Result<void*> copy_payload(ByteView payload);

// The result fields of a C API request: clear() empties them, give_up() also releases
// what they hold.
template <class Request>
void clear(Request& request) {
  request.fd = -1;
  request.payload = nullptr;
  request.payload_len = 0;
  request.group = 0;
}
// Asks the application whether it can use an endpoint.
template <class Request>
Result<> ask(const Request& request, ByteView payload) {
  const int error =
      request.accept ? request.accept(request.accept_arg, payload.data(), payload.size()) : 0;
  if (error == 0) return {};
  return fail(error, "the application cannot use the endpoint");
}
template <class Request>
void give_up(Request& request) {
  if (request.fd >= 0) ::close(request.fd);
  std::free(request.payload);
  clear(request);
}

}  // namespace sockmi::lib
