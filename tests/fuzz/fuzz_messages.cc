// What daemons and the library say to each other: a byte that says which, then the message. What can be read can be written and read again.
#include <algorithm>
#include <filesystem>
#include <map>

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
                   std::uint64_t generation) override {
    const Secret again = image::pack_held(tuple, service, line, generation);
    const auto* held = said(again)->request_as_Held();
    need(image::read_tuple(held->local(), held->remote()) == tuple && SocketAddress::parse(held->line()->str()) == line);
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
const peer::Identity& host(const std::string& name) {
  static std::map<std::string, peer::Identity> all;
  if (const auto it = all.find(name); it != all.end()) return it->second;
  static const std::filesystem::path folder = [] {
    std::string made = (std::filesystem::temp_directory_path() / "sockmi-fuzz.XXXXXX").string();
    need(::mkdtemp(made.data()) != nullptr && peer::init_cluster(std::filesystem::path(made) / "cluster"));
    return std::filesystem::path(made);
  }();
  need(peer::issue_host(folder / "cluster", name, folder / name).has_value());
  return all.emplace(name, *peer::Identity::load(folder / name)).first->second;
}

// Raw, as from a stranger; and as a member of the cluster would have sent it now.
void read_datagram(ByteView bytes) {
  using namespace sockmi::peer;
  Datagrams a(host("hostA"), "10.0.0.1:7078"), b(host("hostB"), "10.0.0.2:7078");
  (void)b.open(bytes);
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
