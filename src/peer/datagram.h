// Datagrams that only members of the cluster can make, and that count only once.
#pragma once

#include <chrono>
#include <deque>
#include <set>

#include "base/secret.h"
#include "peer/datagram_generated.h"
#include "peer/identity.h"

namespace sockmi::peer {

class Datagrams {
 public:
  explicit Datagrams(const Identity& identity, std::string line);
  // Fills in sender, line, time and nonce, and signs.
  Bytes seal(wire::DatagramT datagram);
  // EBADMSG: no datagram of the cluster; EALREADY: seen before; ESTALE: its time is too far from ours.
  Result<wire::DatagramT> open(ByteView bytes);

  static constexpr std::size_t kLargest = 1400;

 private:
  struct Seen {
    std::int64_t time_ms;
    std::string sender;
    std::uint64_t nonce;
    auto operator<=>(const Seen&) const = default;
  };
  std::string sender_, line_;
  Secret key_;
  std::uint64_t epoch_ = 0;
  std::set<Seen> seen_;  // ordered by time: the oldest go first
};

}  // namespace sockmi::peer
