// Signs and checks datagrams between hosts. A receiver can rely on the sender's name,
// accepts each datagram once, and accepts it only if it is addressed to this host or to
// all.
//
// On the wire, numbers big-endian:
//   version (1 byte)
//   size of the body (2), of the certificate (2), of the signature (1)
//   body, certificate, signature
//   for each cluster key of the sender: HMAC-SHA256 over all of the above (32)
//
// The certificate is the sending host's, and the signature is made with its key over the
// body. So nobody can send in the name of a host, not even another member. The receiver
// checks the HMAC first, before any signature, so that nobody outside the cluster can
// make it spend time on signatures. The HMAC alone gives a sender no rights.
#pragma once

#include <array>
#include <chrono>
#include <map>
#include <set>

#include "base/secret.h"
#include "cluster/identity.h"
#include "cluster/rate_limit.h"
#include "wire/discovery_generated.h"

namespace sockmi::cluster {

class Datagrams {
 public:
  // `limit`: how many datagrams of one source, with a correct HMAC, have their signatures
  // checked. A check takes 70 to 250 microseconds.
  Datagrams(const Identity& identity, std::string control_address,
            RateBySource limit = {2000, 4000});
  // Fills in sender, address of the control channel, epoch, time and nonce; then signs
  // the datagram.
  Bytes seal(wire::DatagramT datagram);
  // Checks a datagram and returns its contents. Errors: EBADMSG if it is not a datagram
  // of the cluster, or is malformed, or has another host's signature; EACCES if the
  // sender's certificate is not in force or is for other addresses; EALREADY if the
  // datagram has been seen before, is our own, is for another host, or answers one from
  // before our start; ESTALE if its time is too far from ours; EPROTONOSUPPORT if it is
  // from the cluster but of another version; EBUSY if there are too many from this
  // source.
  Result<wire::DatagramT> open(ByteView bytes, const IpAddress& source = {});
  std::uint64_t epoch() const { return epoch_; }
  // Returns warnings about hosts whose clock differs from ours so much that datagrams are
  // refused or may soon be, and about hosts with another version of datagrams.
  std::vector<std::string> warnings() const;

  // Bytes. The kernel fragments datagrams above about 1,400 bytes, which occur if names
  // are long.
  static constexpr std::size_t kLargest = 2000;

 private:
  struct Known {
    Member member;
    Key key;  // to check signatures
  };
  struct Skew {
    std::chrono::seconds ahead;
    std::chrono::steady_clock::time_point heard;
  };
  std::unexpected<Error> refuse_version(ByteView bytes, const IpAddress& source);
  // Time and nonce. Ordered by time, because the oldest are removed first.
  using Seen = std::set<std::pair<std::int64_t, std::uint64_t>>;
  Result<const Known*> whose(ByteView certificate);
  Result<> check_time(const std::string& sender, std::int64_t time_ms, std::int64_t now);
  Result<> check_new(const std::string& sender, std::int64_t time_ms, std::uint64_t nonce,
                     std::int64_t now);

  const Identity identity_;
  const std::string control_address_;
  std::uint64_t epoch_ = 0;
  std::map<std::string, Seen> seen_;  // by sender
  std::shared_ptr<const Credentials> known_by_;
  // By the SHA-256 of the certificate. All have been checked with the credentials
  // known_by_.
  std::map<std::array<std::uint8_t, 32>, Known> known_;
  RateBySource rate_;
  std::map<std::string, Skew> skews_;
  // By address; the value is when one was last received.
  std::map<IpAddress, std::chrono::steady_clock::time_point> other_versions_;
};

}  // namespace sockmi::cluster
