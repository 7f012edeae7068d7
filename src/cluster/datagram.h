// Datagrams that say, so that it can be trusted, which host of the cluster sent them; each counts once, and for whom it names.
//
// On the wire: version (1 byte), sizes of the body (2), of the certificate (2) and of the signature (1), big-endian; then these three; then
// an HMAC-SHA256 over all of that for each cluster key of the sender's (32 bytes each). The certificate is the sending host's own, and the signature that
// of its key over the body: nobody, no other member either, can speak in its name. The HMAC comes first at the receiver: it keeps strangers from making it
// check signatures, and gives nobody any right.
#pragma once

#include <array>
#include <chrono>
#include <map>
#include <set>

#include "base/secret.h"
#include "wire/discovery_generated.h"
#include "cluster/identity.h"
#include "cluster/rate_limit.h"

namespace sockmi::cluster {

class Datagrams {
 public:
  // `limit`: how many datagrams of one source, with a good HMAC, have their signatures checked; checking takes 70 to 250 microseconds.
  Datagrams(const Identity& identity, std::string line, RateBySource limit = {2000, 4000});
  // Fills in sender, line, time and nonce, and signs.
  Bytes seal(wire::DatagramT datagram);
  // EBADMSG: no datagram of the cluster; EACCES: its sender's certificate is not in force, or is for other addresses; EALREADY: seen before, or for
  // another host, or from before our start; ESTALE: its time is too far from ours; EPROTONOSUPPORT: of the cluster, and of
  // another version; EBUSY: too many from there.
  Result<wire::DatagramT> open(ByteView bytes, const IpAddress& source = {});
  std::uint64_t epoch() const { return epoch_; }
  // Of hosts whose clocks differ from ours so much that something will fail, or does, and of those that speak another version.
  std::vector<std::string> warnings() const;

  static constexpr std::size_t kLargest = 2000;  // above some 1,400, where names are long, the kernel sends it in fragments

 private:
  struct Known {
    Member member;
    Key key;  // to check signatures by
  };
  struct Skew {
    std::chrono::seconds ahead;
    std::chrono::steady_clock::time_point heard;
  };
  std::unexpected<Error> refuse_version(ByteView bytes, const IpAddress& source);
  using Seen = std::set<std::pair<std::int64_t, std::uint64_t>>;  // time and nonce; ordered by time: the oldest go first
  Result<const Known*> whose(ByteView certificate);
  Result<> check_time(const std::string& sender, std::int64_t time_ms, std::int64_t now);
  Result<> check_new(const std::string& sender, std::int64_t time_ms, std::uint64_t nonce, std::int64_t now);

  const Identity identity_;
  const std::string line_;
  std::uint64_t epoch_ = 0;
  std::map<std::string, Seen> seen_;  // by sender
  std::shared_ptr<const Credentials> known_by_;
  std::map<std::array<std::uint8_t, 32>, Known> known_;  // by the certificate's SHA-256; checked by the credentials above
  RateBySource rate_;
  std::map<std::string, Skew> skews_;
  std::map<IpAddress, std::chrono::steady_clock::time_point> other_versions_;  // where they are, and when they were heard last
};

}  // namespace sockmi::cluster
