// Messages between daemons, and between library and daemon: a byte that selects the kind,
// then the message. What can be read can be written and read again.
#include <algorithm>
#include <filesystem>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "cluster/datagram.h"
#include "daemon/control_dispatch.h"
#include "tcp/image_check.h"
#include "wire/control_messages.h"
#include "wire/flatbuffer.h"

using namespace sockmi;

namespace {

void need(bool good) {
  if (!good) std::abort();
}

// Writes again each message that the daemon would receive.
class Echo : public daemon::Requests {
 public:
  using AuthenticatedHost = daemon::AuthenticatedHost;
  using MigrationId = daemon::MigrationId;
  Result<> standby(const AuthenticatedHost&) override { return {}; }
  std::vector<Result<>> path_queries(
      const AuthenticatedHost&, const std::vector<wire::PathRequirements>& connections) override {
    const Secret again = wire::pack_path_queries(connections);
    need(wire::read_path_queries(*said(again)->request_as_PathQueries())->size() ==
         connections.size());
    return std::vector<Result<>>(connections.size());
  }
  Result<> receive_pre_copy(const AuthenticatedHost&, const MigrationId& id,
                            ByteView bytes) override {
    const Secret again = wire::pack_pre_copy(id, bytes);
    need(std::ranges::equal(wire::view(said(again)->request_as_PreCopy()->bytes()), bytes));
    return {};
  }
  std::vector<Result<>> prepare(const AuthenticatedHost&, const SocketAddress& control_address,
                                std::vector<wire::IncomingImage> images) override {
    for (const wire::IncomingImage& image : images) {
      if (!image.endpoint) continue;
      (void)to_string(wire::tuple_of(image.endpoint->tcp));
      (void)tcp::check_connection(image.endpoint->tcp);
      (void)tcp::check_passive(image.endpoint->tcp);
      const wire::OutgoingImage one{image.id, &*image.endpoint, image.pre_copied};
      const Secret again = wire::pack_prepare({&one, 1}, control_address);
      const auto read = wire::read_prepare(*said(again)->request_as_Prepare());
      need(read && read->front().endpoint && read->front().group == image.group);
    }
    return std::vector<Result<>>(images.size());
  }
  std::vector<Result<>> commit(const AuthenticatedHost&,
                               const std::vector<wire::Committed>& committed) override {
    const Secret again = wire::pack_commit(committed);
    need(wire::read_commit(*said(again)->request_as_Commit())->size() == committed.size());
    return std::vector<Result<>>(committed.size());
  }
  Result<> abort(const AuthenticatedHost&, const std::vector<MigrationId>& ids) override {
    const Secret again = wire::pack_abort(ids);
    need(*wire::read_ids(wire::view(said(again)->request_as_Abort()->ids())) == ids);
    return {};
  }
  Result<> late_write(const AuthenticatedHost&, const MigrationId& id,
                      const wire::FreezeDeltaT& delta) override {
    const Secret again = wire::pack_late_write(id, delta);
    need(std::ranges::equal(wire::view(said(again)->request_as_LateWrite()->delta()->written()),
                            delta.written));
    return {};
  }
  Result<> straggler(const AuthenticatedHost&, const wire::StragglerT& straggler) override {
    if (straggler.delta) (void)said(wire::pack_straggler(straggler));
    return {};
  }
  Result<> ended(const AuthenticatedHost&, const FourTuple&, std::uint64_t) override { return {}; }
  Result<> take_over(const AuthenticatedHost&, const wire::TakeOver& take) override {
    if (const auto address = IpAddress::parse(wire::string(take.address())))
      (void)said(wire::pack_take_over(take.step(), *address, take.prefix(), take.deprecated()));
    return {};
  }
  Result<int> query_outcome(const AuthenticatedHost&, const MigrationId& id) override {
    need(wire::to_hex(id).size() == 32);
    return 0;
  }
  Result<int> moved(const AuthenticatedHost&, const FourTuple& tuple, const IpAddress& to,
                    const std::string& host, const std::string& service,
                    std::uint64_t generation) override {
    const Secret again = wire::pack_moved(tuple, to, host, service, generation);
    const auto* moved = said(again)->request_as_Moved();
    need(wire::read_tuple(moved->local(), moved->remote()) == tuple &&
         IpAddress::parse(moved->to()->str()) == to);
    return 0;
  }
  Result<int> query_holder(const AuthenticatedHost&, const FourTuple& tuple,
                           const std::string& service, const SocketAddress& control_address,
                           std::uint64_t generation, bool routed) override {
    const Secret again =
        wire::pack_query_holder(tuple, service, control_address, generation, routed);
    const auto* held = said(again)->request_as_QueryHolder();
    need(wire::read_tuple(held->local(), held->remote()) == tuple &&
         SocketAddress::parse(held->control_address()->str()) == control_address &&
         held->routed() == routed);
    return 0;
  }

 private:
  static const wire::Message* said(ByteView bytes) {
    const auto message = wire::read<wire::Message>(bytes);
    need(message.has_value());
    return *message;
  }
};

void read_message(ByteView bytes) {
  Echo echo;
  const Secret answer = daemon::dispatch(echo, {"hostB", *IpAddress::parse("10.0.0.2")}, bytes);
  (void)wire::read_verdicts(answer, 1);
  (void)wire::read_took(answer);
}

template <class Table>
void unpack(ByteView bytes) {
  if (const auto table = wire::read<Table>(bytes)) {
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
    need(cluster::init_cluster(folder / "cluster").has_value());
    for (auto [name, identity] : {std::pair("hostA", &a), std::pair("hostB", &b)}) {
      need(cluster::issue_host(folder / "cluster", name, folder / name).has_value());
      *identity = *cluster::Identity::load(folder / name);
    }
    std::filesystem::remove_all(folder);
  }
  cluster::Identity a, b;
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
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes.data(), bytes.size(),
       out.data() + bytes.size(), nullptr);
  return out;
}

// Opens the datagram as one of an unauthenticated sender, of a sender with the cluster's
// key, and as a member of the cluster would have sent it now.
void read_datagram(ByteView bytes) {
  using namespace sockmi::cluster;
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
  if (!opened) return need(opened.error().code == EBADMSG);  // the datagram is too long
  need(opened->service == datagram.service && opened->sender == "hostA");
  need(b.open(sealed).error().code == EALREADY);
  for (const auto* address : {&opened->local, &opened->remote})
    if (const auto parsed = SocketAddress::parse(*address))
      need(SocketAddress::parse(to_string(*parsed)) == *parsed);
  for (const auto* address : {&opened->home, &opened->target})
    if (const auto parsed = IpAddress::parse(*address))
      need(IpAddress::parse(to_string(*parsed)) == *parsed);
}

// Opens a datagram of a member that a sender with the cluster's key has changed at some
// places (2 bytes) to another value (1 byte): sizes, certificate, signature.
void change_datagram(ByteView changes) {
  using namespace sockmi::cluster;
  Datagrams a(hosts().a, "10.0.0.1:7078"), b(hosts().b, "10.0.0.2:7078");
  wire::DatagramT datagram;
  datagram.kind = wire::Kind::Request;
  datagram.service = "web";
  const Bytes sealed = a.seal(datagram);
  Bytes changed(sealed.begin(), sealed.end() - 32);
  for (; changes.size() >= 3; changes = changes.subspan(3))
    changed[(changes[0] << 8 | changes[1]) % changed.size()] = changes[2];
  const Bytes again = with_mac(changed);
  const auto opened = b.open(again);
  need(opened || again != sealed);
  // The certificate may encode the same in other bytes.
  need(!opened || (opened->sender == "hostA" && opened->service == "web"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Secret bytes(data + 1, data + size);
  switch (data[0]) {
    case 'm': read_message(bytes); break;
    case 'a': (void)wire::read_answer(bytes); break;
    case 'e': unpack<wire::ExportRequest>(bytes); break;
    case 'i': unpack<wire::ImportRequest>(bytes); break;
    case 'r': unpack<wire::ImportResponse>(bytes); break;
    case 'd': read_datagram(bytes); break;
    case 'D': change_datagram(bytes); break;
    default: break;
  }
  return 0;
}
