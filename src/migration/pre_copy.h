// What can reach the importer before the freeze: the receive queue, while nobody reads it. (Pre-copy is the term of live migration of virtual machines:
// Clark et al., NSDI 2005.) A freeze takes some milliseconds a megabyte of what travels in it, and a peer that has just sent expects to hear of it
// within two round trips and two ticks of its clock.
//
// The exporter sends the queue while the connection goes on, and again what has come behind it, until little is left. PREPARE says how many of these
// bytes, the last ones, are unread still; what else was sent ahead is of no use any more. An importer that does not take them (of an older build; it has
// no room) gets the whole queue in the image. What is unacknowledged can't be read of a live socket, and travels in the freeze; no peer's timer waits
// for that.
#pragma once

#include <map>
#include <string>

#include "context/world.h"
#include "tcp/pre_copy.h"

namespace sockmi::daemon {

inline constexpr std::size_t kMinPreCopyBytes = 64 << 10;  // bytes; less travels in the freeze as quickly

// The exporter's half, one pass: sends what of the queue is unread behind `known`, if it is much. True: that took its time, and another pass may be
// worth it. On failure `known` is empty, for good.
asio::awaitable<bool> pre_copy(World& world, const cluster::SelectedHost& importer, const wire::MigrationId& id, int socket, tcp::PreCopyRange& known,
                               Clock::time_point deadline);

// The importer's half: what was sent ahead of an endpoint for which a place is reserved.
class PreCopies {
 public:
  // ENOBUFS: there is no room for it, nor for what was sent before.
  Result<> add(const wire::MigrationId& id, const std::string& host, ByteView bytes);
  // Puts the last `count` of what `host` sent in front of the image's receive queue, and forgets them all. EBADMSG: it did not send as much.
  Result<> put_before(wire::TcpT& image, std::uint32_t count, const wire::MigrationId& id, const std::string& host);
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
