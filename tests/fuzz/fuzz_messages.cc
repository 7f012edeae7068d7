// What daemons and the library say to each other: a byte that says which, then the message. What can be read can be written and read again.
#include <algorithm>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "image/endpoint.h"
#include "image/pack.h"
#include "peer/datagram.h"

using namespace sockmi;

namespace {

void need(bool good) {
  if (!good) std::abort();
}

void read_message(ByteView bytes) {
  const auto message = image::read<image::Message>(bytes);
  if (!message) return;
  if (const auto* said = (*message)->request_as_Prepare(); said && said->endpoints())
    for (const auto* departing : *said->endpoints()) {
      const auto id = image::read_id(image::view(departing->id()));
      const auto endpoint = image::read_endpoint(departing->endpoint());
      const auto line = SocketAddress::parse(image::string(said->line()));
      if (!id || !endpoint || !line) continue;
      (void)to_string(image::tuple_of(endpoint->tcp));
      const image::Departing one{*id, &*endpoint, departing->ahead()};
      const Secret again = image::pack_prepare({&one, 1}, *line);
      const auto message_again = image::read<image::Message>(again);
      need(message_again && image::read_endpoint((*message_again)->request_as_Prepare()->endpoints()->Get(0)->endpoint()).has_value());
    }
  if (const auto* said = (*message)->request_as_Commit())
    if (const auto committed = image::read_commit(*said)) {
      const Secret again = image::pack_commit(*committed);
      need(image::read_commit(*(*image::read<image::Message>(again))->request_as_Commit())->size() == committed->size());
    }
  if (const auto* said = (*message)->request_as_Abort())
    if (const auto ids = image::read_ids(image::view(said->ids()))) need(16 * ids->size() == image::view(said->ids()).size());
  if (const auto* said = (*message)->request_as_Ahead())
    if (const auto id = image::read_id(image::view(said->id()))) {
      const Secret again = image::pack_ahead(*id, image::view(said->bytes()));
      need(std::ranges::equal(image::view((*image::read<image::Message>(again))->request_as_Ahead()->bytes()), image::view(said->bytes())));
    }
  if (const auto* said = (*message)->request_as_Expect()) (void)image::read_expect(*said);
  if (const auto* said = (*message)->request_as_Inquire())
    if (const auto id = image::read_id(image::view(said->id()))) need(image::to_hex(*id).size() == 32);
  if (const auto* said = (*message)->request_as_Moved())
    if (const auto tuple = image::read_tuple(said->local(), said->remote()))
      if (const auto to = IpAddress::parse(image::string(said->to()))) {
        const Secret again = image::pack_moved(*tuple, *to, image::string(said->host()));
        const auto* moved = (*image::read<image::Message>(again))->request_as_Moved();
        need(image::read_tuple(moved->local(), moved->remote()) == *tuple && IpAddress::parse(moved->to()->str()) == *to);
      }
  if (const auto* said = (*message)->request_as_Ended()) (void)image::read_tuple(said->local(), said->remote());
  if (const auto* said = (*message)->request_as_Held())
    if (const auto tuple = image::read_tuple(said->local(), said->remote()))
      if (const auto line = SocketAddress::parse(image::string(said->line()))) {
        const Secret again = image::pack_held(*tuple, image::string(said->service()), *line);
        const auto* held = (*image::read<image::Message>(again))->request_as_Held();
        need(image::read_tuple(held->local(), held->remote()) == *tuple && SocketAddress::parse(held->line()->str()) == *line);
      }
  if (const auto* said = (*message)->request_as_Straggler()) {
    image::StragglerT straggler;
    said->UnPackTo(&straggler);
    if (straggler.late) need(image::read<image::Message>(image::pack_straggler(straggler)).has_value());
  }
  if (const auto* said = (*message)->request_as_TakeOver())
    if (const auto address = IpAddress::parse(image::string(said->address())))
      need(image::read<image::Message>(image::pack_take_over(said->step(), *address, said->prefix(), said->deprecated())).has_value());
}

template <class Table>
void unpack(ByteView bytes) {
  if (const auto table = image::read<Table>(bytes)) {
    typename Table::NativeTableType native;
    (*table)->UnPackTo(&native);
  }
}

// Raw, with a good HMAC; and as a member of the cluster would have sent it now.
void read_datagram(ByteView bytes) {
  using namespace sockmi::peer;
  static const Identity ours{.host = "hostA", .folder = {}, .cluster_key = Secret(32, 'k')}, theirs{.host = "hostB", .folder = {}, .cluster_key = Secret(32, 'k')};
  Datagrams a(ours, "10.0.0.1:7078"), b(theirs, "10.0.0.2:7078");
  Bytes raw(bytes.begin(), bytes.end());
  raw.resize(bytes.size() + 32);
  HMAC(EVP_sha256(), ours.cluster_key.data(), 32, bytes.data(), bytes.size(), raw.data() + bytes.size(), nullptr);
  (void)b.open(raw);
  flatbuffers::Verifier verifier(bytes.data(), bytes.size());
  if (!wire::VerifyDatagramBuffer(verifier)) return;
  wire::DatagramT datagram;
  wire::GetDatagram(bytes.data())->UnPackTo(&datagram);
  const Bytes sealed = a.seal(datagram);
  const auto opened = b.open(sealed);
  need(opened.has_value() == (sealed.size() <= Datagrams::kLargest));
  if (!opened) return;
  need(opened->service == datagram.service && opened->sender == "hostA");
  need(b.open(sealed).error().code == EALREADY);
  for (const auto* address : {&opened->local, &opened->remote})
    if (const auto parsed = SocketAddress::parse(*address)) need(SocketAddress::parse(to_string(*parsed)) == *parsed);
  for (const auto* address : {&opened->home, &opened->target})
    if (const auto parsed = IpAddress::parse(*address)) need(IpAddress::parse(to_string(*parsed)) == *parsed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Secret bytes(data + 1, data + size);
  switch (data[0]) {
    case 'm': read_message(bytes); break;
    case 'a': (void)image::read_answer(bytes); break;
    case 'e': unpack<image::ExportRequest>(bytes); break;
    case 'i': unpack<image::ImportRequest>(bytes); break;
    case 'r': unpack<image::ImportResponse>(bytes); break;
    case 'd': read_datagram(bytes); break;
    default: break;
  }
  return 0;
}
