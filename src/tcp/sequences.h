// The sequence numbers of a socket's two streams. They can be read only in repair mode,
// which makes calls of the socket's owner fail. So they are learned once, in two instants
// of repair mode; their distance to the socket's own counters (Place) never changes.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "base/error.h"
#include "tcp/stream_positions.h"
#include "wire/tcp_generated.h"

namespace sockmi::tcp {

struct Sequences {
  std::uint32_t received = 0, written = 0;  // of the first byte that this socket counts
  std::uint32_t mss = 0;                    // the largest segment that the peer accepts
  std::uint32_t max_window = 0;             // the peer's, at the time of learning

  // Learns the sequence numbers of a frozen socket in ESTABLISHED. `before`: its windows
  // until then. By this call the socket, as far as it knows, acknowledges what it has
  // received. Errors: EAGAIN if the socket does not come to rest.
  static Result<Sequences> learn(int fd, std::optional<wire::Window>& before);
  // Returns true if they are still this socket's, as far as that can be checked without
  // repair mode: the descriptor's socket may have been connected again. If the socket has
  // been in repair mode since, they must be learned again.
  bool match(int fd) const;

  std::uint32_t end_of_received(const Place& place) const {
    return received + static_cast<std::uint32_t>(place.received);
  }
  std::uint32_t acknowledged(const Place& place) const {
    return written + static_cast<std::uint32_t>(place.acknowledged);
  }
};

// What is known of a socket before it is frozen.
struct History {
  std::optional<Sequences> sequences;
  bool in_use = false;  // other threads write or read while it is exported
};

// The histories of the last few thousand sockets that were unfrozen.
class Histories {
 public:
  void remember(std::uint64_t cookie, const History& history);
  History find(std::uint64_t cookie) const;

 private:
  std::map<std::uint64_t, History> all_;
  std::deque<std::uint64_t> order_;
};

}  // namespace sockmi::tcp
