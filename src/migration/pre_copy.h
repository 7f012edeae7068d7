// Transfers the receive queue to the importer before the freeze, while the application
// does not read it. (Pre-copy is the term of live migration of virtual machines: Clark et
// al., NSDI 2005.) A freeze takes some milliseconds per MiB of what is transferred in it,
// and a peer that has just sent expects an acknowledgement within two round trips and two
// ticks of its clock.
//
// The exporter sends the queue while the connection continues, and repeatedly what has
// arrived since, until little is left. PREPARE says how many of these bytes (the last
// ones) are still unread; the other pre-copied bytes are discarded. An importer that does
// not accept them (an older version, or no memory) gets the whole queue in the image. The
// unacknowledged part of the send queue cannot be read from a live socket, so it is
// transferred in the freeze; no timer of the peer depends on it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "context/services.h"
#include "migration/export_state.h"

namespace sockmi::daemon {

// Bytes; less than this is transferred as quickly in the freeze.
inline constexpr std::size_t kMinPreCopyBytes = 64 << 10;

// The exporter's half. Whether the bytes count is decided by PREPARE.
asio::awaitable<void> pre_copy_queues(const Services& services, cluster::SelectedHost importer,
                                      std::vector<ExportedEndpoint*> those,
                                      Clock::time_point deadline);

// The importer's half: the pre-copied bytes of endpoints for which a slot is reserved.
class PreCopies {
 public:
  // Appends `bytes`. Errors: ENOBUFS if there is no memory for them; all earlier bytes of
  // the endpoint are dropped too. EACCES if the endpoint is another host's.
  Result<> add(const wire::MigrationId& id, const std::string& host, ByteView bytes);
  // Puts the last `count` bytes that `host` sent in front of the image's receive queue,
  // and drops the others. Errors: EBADMSG if `host` did not send that many.
  Result<> put_before(wire::TcpT& image, std::uint32_t count, const wire::MigrationId& id,
                      const std::string& host);
  void forget(const wire::MigrationId& id);

 private:
  struct Copy {
    std::string host;
    Bytes bytes;
  };
  std::map<wire::MigrationId, Copy> copies_;
  std::size_t size_ = 0;
};

}  // namespace sockmi::daemon
