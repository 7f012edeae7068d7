#include "cluster/offer_datagrams.h"

#include <algorithm>

namespace sockmi::cluster {
namespace {

constexpr std::uint32_t kLargestBatch = 4096;

}  // namespace

IpAddress other_address(const wire::DatagramT& datagram) {
  const auto address = IpAddress::parse(datagram.other_address);
  return address ? *address : IpAddress();
}

Result<Offer> read_offer(const wire::DatagramT& datagram) {
  Offer offer;
  if (datagram.id.size() != offer.id.size()) return fail(EBADMSG, "invalid offer: no migration id");
  std::ranges::copy(datagram.id, offer.id.begin());
  offer.service = datagram.service;
  offer.owner = {datagram.owner_uid, datagram.owner};
  offer.state = datagram.state;
  offer.size = datagram.size;
  offer.count = datagram.count;
  offer.unclaimed = datagram.unclaimed;
  if (offer.count == 0 || offer.count > kLargestBatch)
    return fail(EBADMSG, "invalid offer of {} endpoints", offer.count);
  TRY_LET(local, SocketAddress::parse(datagram.local));
  TRY_LET(home, IpAddress::parse(datagram.home));
  offer.tuple = {local, {}};
  if (!datagram.remote.empty()) {  // a bound or listening socket has no peer
    TRY_LET(remote, SocketAddress::parse(datagram.remote));
    offer.tuple.remote = remote;
  }
  offer.home = home;
  if (!datagram.target.empty()) {
    TRY_LET(target, IpAddress::parse(datagram.target));
    offer.target = target;
  }
  return offer;
}

wire::DatagramT write_offer(wire::Kind kind, const Offer& offer) {
  wire::DatagramT out;
  out.kind = kind;
  out.id.assign(offer.id.begin(), offer.id.end());
  out.service = offer.service;
  out.owner = offer.owner.name;
  out.owner_uid = offer.owner.uid;
  out.state = offer.state;
  out.local = to_string(offer.tuple.local);
  if (offer.tuple.remote.port != 0) out.remote = to_string(offer.tuple.remote);
  out.home = to_string(offer.home);
  out.size = offer.size;
  out.count = offer.count;
  out.unclaimed = offer.unclaimed;
  if (!offer.target.any()) out.target = to_string(offer.target);
  return out;
}

// Returns what a RESPONSE says. Errors: EBADMSG if it has no address.
Result<HostAnswer> read_response(const wire::DatagramT& datagram) {
  TRY_LET(control_address, SocketAddress::parse(datagram.control_address));
  HostAnswer answer{.host = {datagram.sender, control_address, other_address(datagram)},
                    .reply = {.waiting_importers = datagram.waiting,
                              .free_slots = datagram.free,
                              .load_percent = datagram.load},
                    .acceptable = {}};
  if (datagram.error != 0)
    answer.acceptable = std::unexpected(Error{datagram.error, datagram.reason});
  return answer;
}

}  // namespace sockmi::cluster
