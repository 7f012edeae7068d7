// Divides the endpoints of an export call into requests to the daemon.
//
// Invariant: the endpoints of a group are in one request, and one that cannot be prepared
// keeps its whole group from the request.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include <sockmi/sockmi.h>

#include "base/error.h"
#include "base/secret.h"

namespace sockmi::lib {

struct ExportItem {
  int fd;  // borrowed
  unsigned state;
  Secret tls;
  ByteView payload;
  unsigned group = 0;
  std::size_t size() const { return tls.size() + payload.size(); }  // in bytes
};

// What an application exports in one call.
struct ExportCall {
  // The groups of the endpoints; 0: the endpoint moves by itself.
  std::vector<unsigned> groups;
  // Prepares the endpoint of an index: saves its TLS state. Called once for each, shortly
  // before the endpoint is sent to the daemon, while the daemon moves earlier ones.
  std::function<Result<ExportItem>(std::size_t)> prepare;
  // Called once for each endpoint, with its index and result.
  std::function<void(std::size_t, Result<>)> settle;
};

// Checks the groups of a call before anything moves. `states`: of the endpoints. Errors:
// EINVAL if a group is too large, or has a bound or listening socket.
Result<> check_groups(const std::vector<unsigned>& groups, const std::vector<int>& states);

// Endpoints that go to the daemon in one request.
struct ExportBatch {
  std::vector<std::size_t> which;  // their indices in the call
  std::vector<ExportItem> items;
  std::size_t bytes = 0;

  bool empty() const { return items.empty(); }
  void add(std::size_t i, ExportItem item);
  void add(ExportBatch more);
  bool has_room_for(const ExportBatch& more) const;
};

class ExportBatches {
 public:
  // Borrows `call`.
  explicit ExportBatches(const ExportCall& call);
  // Returns the next batch; an empty one at the end. Settles what cannot be prepared.
  ExportBatch next();

 private:
  ExportBatch prepare(const std::vector<std::size_t>& group);

  const ExportCall& call_;
  std::vector<std::vector<std::size_t>> groups_;  // indices of endpoints
  std::size_t done_ = 0;
  ExportBatch next_;
};

}  // namespace sockmi::lib
