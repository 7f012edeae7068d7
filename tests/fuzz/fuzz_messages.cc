// What daemons and the library say to each other: a byte that says which, then the message. What can be read can be written and read again.
#include <algorithm>
#include <filesystem>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "broker/dispatch.h"
#include "image/endpoint.h"
#include "image/pack.h"
#include "peer/datagram.h"
#include "tcp/check.h"

using namespace sockmi;

namespace {

void need(bool good) {
  if (!good) std::abort();
}

// Hears what the daemon hears, and says it again.
class Echo : public broker::Requests {
 public:
  using Speaker = broker::Speaker;
  using MigrationId = broker::MigrationId;
  Result<> expect(const Speaker&) override { return {}; }
  std::vector<Result<>> passages(const Speaker&, const std::vector<image::Crossing>& connections) override {
    const Secret again = image::pack_passages(connections);
    need(image::read_passages(*said(again)->request_as_Passages())->size() == connections.size());
    return std::vector<Result<>>(connections.size());
  }
  Result<> take_ahead(const Speaker&, const MigrationId& id, ByteView bytes) override {
    const Secret again = image::pack_ahead(id, bytes);
    need(std::ranges::equal(image::view(said(again)->request_as_Ahead()->bytes()), bytes));
    return {};
  }
  Result<> prepare(const Speaker&, const MigrationId& id, const SocketAddress& line, image::Endpoint endpoint, std::uint32_t ahead) override {
    (void)to_string(image::tuple_of(endpoint.tcp));
    (void)tcp::check_connection(endpoint.tcp);
    (void)tcp::check_passive(endpoint.tcp);
    const image::Departing one{id, &endpoint, ahead};
    const Secret again = image::pack_prepare({&one, 1}, line);
    need(image::read_endpoint(said(again)->request_as_Prepare()->endpoints()->Get(0)->endpoint()).has_value());
    return {};
  }
  std::vector<Result<>> commit(const Speaker&, const std::vector<image::Committed>& committed) override {
    const Secret again = image::pack_commit(committed);
    need(image::read_commit(*said(again)->request_as_Commit())->size() == committed.size());
    return std::vector<Result<>>(committed.size());
  }
  Result<> abort(const Speaker&, const std::vector<MigrationId>& ids) override {
    const Secret again = image::pack_abort(ids);
    need(*image::read_ids(image::view(said(again)->request_as_Abort()->ids())) == ids);
    return {};
  }
  Result<> rest(const Speaker&, const MigrationId& id, const image::LateT& late) override {
    const Secret again = image::pack_rest(id, late);
    need(std::ranges::equal(image::view(said(again)->request_as_Rest()->late()->written()), late.written));
    return {};
  }
  Result<> straggler(const Speaker&, const image::StragglerT& straggler) override {
    if (straggler.late) (void)said(image::pack_straggler(straggler));
    return {};
  }
  Result<> ended(const Speaker&, const FourTuple&, std::uint64_t) override { return {}; }
  Result<> take_over(const Speaker&, const image::TakeOver& take) override {
    if (const auto address = IpAddress::parse(image::string(take.address())))
      (void)said(image::pack_take_over(take.step(), *address, take.prefix(), take.deprecated()));
    return {};
  }
  Result<int> inquire(const Speaker&, const MigrationId& id) override {
    need(image::to_hex(id).size() == 32);
    return 0;
  }
  Result<int> moved(const Speaker&, const FourTuple& tuple, const IpAddress& to, const std::string& host, const std::string& service,
                    std::uint64_t generation) override {
    const Secret again = image::pack_moved(tuple, to, host, service, generation);
    const auto* moved = said(again)->request_as_Moved();
    need(image::read_tuple(moved->local(), moved->remote()) == tuple && IpAddress::parse(moved->to()->str()) == to);
    return 0;
  }
  Result<int> held(const Speaker&, const FourTuple& tuple, const std::string& service, const SocketAddress& line,
                   std::uint64_t generation, bool routed) override {
    const Secret again = image::pack_held(tuple, service, line, generation, routed);
    const auto* held = said(again)->request_as_Held();
    need(image::read_tuple(held->local(), held->remote()) == tuple && SocketAddress::parse(held->line()->str()) == line && held->routed() == routed);
    return 0;
  }

 private:
  static const image::Message* said(ByteView bytes) {
    const auto message = image::read<image::Message>(bytes);
    need(message.has_value());
    return *message;
  }
};

void read_message(ByteView bytes) {
  Echo echo;
  const Secret answer = broker::dispatch(echo, {"hostB", *IpAddress::parse("10.0.0.2")}, bytes);
  (void)image::read_verdicts(answer, 1);
  (void)image::read_took(answer);
}

template <class Table>
void unpack(ByteView bytes) {
  if (const auto table = image::read<Table>(bytes)) {
    typename Table::NativeTableType native;
    (*table)->UnPackTo(&native);
  }
}

// Two hosts of one cluster, made once.
struct Hosts {
  Hosts() {
    std::string made = (std::filesystem::temp_directory_path() / "sockmi-fuzz.XXXXXX").string();
    need(::mkdtemp(made.data()) != nullptr);
    const std::filesystem::path folder = made;
    need(peer::init_cluster(folder / "cluster").has_value());
    for (auto [name, identity] : {std::pair("hostA", &a), std::pair("hostB", &b)}) {
      need(peer::issue_host(folder / "cluster", name, folder / name).has_value());
      *identity = *peer::Identity::load(folder / name);
    }
    std::filesystem::remove_all(folder);
  }
  peer::Identity a, b;
};
const Hosts& hosts() {
  static const Hosts all;
  return all;
}

Bytes with_mac(ByteView bytes) {
  const auto credentials = hosts().a.now();
  const Secret& key = credentials->cluster_keys()[0];
  Bytes out(bytes.begin(), bytes.end());
  out.resize(bytes.size() + 32);
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes.data(), bytes.size(), out.data() + bytes.size(), nullptr);
  return out;
}

// As from a stranger; from whoever has the cluster's key; and as a member of the cluster would have sent it now.
void read_datagram(ByteView bytes) {
  using namespace sockmi::peer;
  Datagrams a(hosts().a, "10.0.0.1:7078"), b(hosts().b, "10.0.0.2:7078");
  need(!b.open(bytes) && !b.open(with_mac(bytes)));
  flatbuffers::Verifier verifier(bytes.data(), bytes.size());
  if (!wire::VerifyDatagramBuffer(verifier)) return;
  wire::DatagramT datagram;
  wire::GetDatagram(bytes.data())->UnPackTo(&datagram);
  datagram.to = "hostB";
  datagram.to_epoch = b.epoch();
  const Bytes sealed = a.seal(datagram);
  const auto opened = b.open(sealed);
  if (!opened) return need(opened.error().code == EBADMSG);  // too long
  need(opened->service == datagram.service && opened->sender == "hostA");
  need(b.open(sealed).error().code == EALREADY);
  for (const auto* address : {&opened->local, &opened->remote})
    if (const auto parsed = SocketAddress::parse(*address)) need(SocketAddress::parse(to_string(*parsed)) == *parsed);
  for (const auto* address : {&opened->home, &opened->target})
    if (const auto parsed = IpAddress::parse(*address)) need(IpAddress::parse(to_string(*parsed)) == *parsed);
}

// A member's datagram that whoever has the cluster's key has changed at some places (2 bytes) to something else (1 byte): sizes, certificate, signature.
void change_datagram(ByteView changes) {
  using namespace sockmi::peer;
  Datagrams a(hosts().a, "10.0.0.1:7078"), b(hosts().b, "10.0.0.2:7078");
  wire::DatagramT datagram;
  datagram.kind = wire::Kind::Request;
  datagram.service = "web";
  const Bytes sealed = a.seal(datagram);
  Bytes changed(sealed.begin(), sealed.end() - 32);
  for (; changes.size() >= 3; changes = changes.subspan(3)) changed[(changes[0] << 8 | changes[1]) % changed.size()] = changes[2];
  const Bytes again = with_mac(changed);
  const auto opened = b.open(again);
  need(opened || again != sealed);
  need(!opened || (opened->sender == "hostA" && opened->service == "web"));  // the certificate may say the same in other bytes
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
    case 'D': change_datagram(bytes); break;
    default: break;
  }
  return 0;
}
