// The sequence numbers of a socket's two streams. Repair mode tells them, in which calls of the socket's owner fail; so they are learnt once, in two
// instants of it, and the distance to what the socket counts at any time (Place) never changes.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "base/error.h"
#include "wire/tcp_generated.h"
#include "tcp/stream_positions.h"

namespace sockmi::tcp {

struct Sequences {
  std::uint32_t received = 0, written = 0;  // of the first byte that this socket counts
  std::uint32_t mss = 0;                    // what the peer takes
  std::uint32_t max_window = 0;             // the peer's, when these were learnt

  // Of a mute socket in ESTABLISHED. `before`: its windows until then; what it receives is acknowledged by this, as far as it knows. EAGAIN: it does not come
  // to rest.
  static Result<Sequences> learn(int fd, std::optional<wire::Window>& before);
  // Whether they are this socket's still, as far as that can be told without repair mode: another connection may have been made with it. What has been in
  // repair mode since has to be learnt again.
  bool match(int fd) const;

  std::uint32_t end_of_received(const Place& place) const { return received + static_cast<std::uint32_t>(place.received); }
  std::uint32_t acknowledged(const Place& place) const { return written + static_cast<std::uint32_t>(place.acknowledged); }
};

// What is known of a socket before it is frozen.
struct History {
  std::optional<Sequences> sequences;
  bool in_use = false;  // others write or read while it is exported
};

// Of the last some thousand sockets that were given back.
class Histories {
 public:
  void remember(std::uint64_t cookie, const History& history);
  History find(std::uint64_t cookie) const;

 private:
  std::map<std::uint64_t, History> all_;
  std::deque<std::uint64_t> order_;
};

}  // namespace sockmi::tcp
