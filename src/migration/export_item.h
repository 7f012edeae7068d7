// An endpoint to export.
#pragma once

#include <memory>

#include "base/token.h"
#include "base/unique_fd.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

// In `endpoint`, the caller fills in service, owner, state, TLS image, payload and group;
// the exporter fills in the rest. The endpoints of a group follow each other.
struct ExportItem {
  unique_fd socket;
  wire::Endpoint endpoint;
  // The local API connection of the process that asked for the export, -1 if there is
  // none. Borrowed for the duration of the export; see CrashGuard::hold().
  int asker = -1;
  // The process that asked may take the token and so give up the export, until the first
  // of its endpoints is decided.
  std::shared_ptr<Token> token = {};
  bool unclaimed = false;  // it leaves because no application here imports it
};

// Returns the end of the group that begins at `first`, in a range of ExportItem or
// ExportedEndpoint. An endpoint without a group is alone in one.
template <class Iterator>
Iterator end_of_group(Iterator first, Iterator end) {
  const std::uint32_t group = first->endpoint.group;
  do {
    ++first;
  } while (group != 0 && first != end && first->endpoint.group == group);
  return first;
}

}  // namespace sockmi::daemon
