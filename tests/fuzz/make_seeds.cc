// Writes seeds whose names say what they are: make_seeds FOLDER writes
// FOLDER/fuzz_messages (one message of each kind), FOLDER/fuzz_record_bio (one scenario
// each) and FOLDER/fuzz_proxy.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <openssl/ssl.h>

#include "proxy/alpn.h"
#include "proxy/proxy_header.h"
#include "proxy/relay_state.h"
#include "wire/control_messages.h"
#include "wire/discovery_generated.h"
#include "wire/flatbuffer.h"

using namespace sockmi;
using namespace sockmi::wire;

namespace {

// Returns "path_queries" for "PathQueries".
std::string file_name(const std::string& type) {
  std::string out;
  char before = 'A';
  for (const char letter : type) {
    if (std::isupper(letter) && !out.empty() && std::islower(before)) out += '_';
    out += static_cast<char>(std::tolower(letter));
    before = letter;
  }
  return out;
}

void write_messages(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  const auto write = [&](const std::string& name, char kind, ByteView bytes) {
    std::ofstream out(folder / name, std::ios::binary);
    out.put(kind).write(reinterpret_cast<const char*>(bytes.data()),
                        static_cast<long>(bytes.size()));
  };
  const auto local = *SocketAddress::parse("10.0.0.1:443"),
             remote = *SocketAddress::parse("[fd00::9]:40000");
  Endpoint endpoint{.service = "web",
                    .owner = {33, "www-data"},
                    .state = 0x40,
                    .tls = Secret(8, 't'),
                    .payload = Secret(8, 'p'),
                    .home = "hostA",
                    .home_control = local};
  endpoint.tcp.local_ip = {10, 0, 0, 1};
  endpoint.tcp.remote_ip = {10, 0, 0, 9};
  endpoint.tcp.window = std::make_unique<Window>(1, 2, 3, 4, 5);
  endpoint.tcp.send_queue = {1, 2, 3};
  endpoint.tcp.options.push_back(std::make_unique<SocketOptionT>());
  const MigrationId id{1, 2, 3};
  const OutgoingImage one{id, &endpoint, 7};
  write("prepare", 'm', pack_prepare({&one, 1}, local));
  std::vector<Committed> committed(1);
  FreezeDeltaT& delta = committed[0].delta;
  delta.bytes = {1, 2, 3};
  delta.acked = 4;
  delta.window = 5;
  write("commit", 'm', pack_commit(committed));
  write("abort", 'm', pack_abort({&id, 1}));
  write("query_outcome", 'm', pack_query_outcome(id));
  write("standby", 'm', pack_standby());
  write("path_queries", 'm',
        pack_path_queries({{.tuple = {local, remote}, .largest = 100, .near = true}}));
  write("pre_copy", 'm', pack_pre_copy(id, delta.bytes));
  write("moved", 'm', pack_moved({local, remote}, local.ip, "hostB"));
  write("query_holder", 'm', pack_query_holder({local, remote}, "web", local));
  write("take_over", 'm', pack_take_over(TakeOverStep::Hold, local.ip, 24, true));
  delta.written = {6, 7};
  delta.sent = 1;
  delta.more = true;
  write("late_write", 'm', pack_late_write(id, delta));
  write("late_write_empty", 'm', pack_late_write({&id, 1}));
  StragglerT straggler;
  straggler.local = to_string(local);
  straggler.remote = to_string(remote);
  straggler.delta = std::make_unique<FreezeDeltaT>(delta);
  write("straggler", 'm', pack_straggler(straggler));
  for (const auto type :
       EnumValuesRequest()) {  // FlatBuffers accepts a union that has a type and no value
    WipingBuilder b;
    b.Finish(CreateMessage(b, type));
    write("no_value_of_" + file_name(EnumNameRequest(type)), 'm', b.take());
  }
  write("ended", 'm', pack_ended({local, remote}));
  write("answer_of_an_error", 'a', pack_answer(fail(ENOBUFS, "full"), -1));
  const std::vector<std::uint8_t> ip{10, 0, 0, 9}, bytes(8, 'x');
  {
    WipingBuilder b;
    const std::vector parts{CreateExportPartDirect(b, 0x40, &bytes, &bytes)};
    b.Finish(CreateExportRequestDirect(b, "web", &ip, 1000, &parts));
    write("export_request", 'e', b.take());
  }
  {
    WipingBuilder b;
    const std::vector criteria{CreateCriteriaDirect(
        b, "web", 0x40, 0x40, CreateMatchDirect(b, &ip, 24, 443), CreateMatch(b))};
    b.Finish(CreateImportRequestDirect(b, &criteria, -1));
    write("import_request", 'i', b.take());
  }
  {
    WipingBuilder b;
    const std::vector delivered{CreateDeliveredDirect(b, 0, &bytes, 0x40, &bytes, &bytes)};
    b.Finish(CreateImportResponseDirect(b, &delivered));
    write("import_response", 'r', b.take());
  }
  {
    wire::DatagramT datagram;
    datagram.kind = wire::Kind::Request;
    datagram.sender = "hostA";
    datagram.control_address = datagram.local = datagram.remote = "10.0.0.1:443";
    datagram.home = datagram.target = "10.0.0.1";
    datagram.id.assign(16, 1);
    datagram.service = "web";
    datagram.other_address = "fd00::1";
    datagram.owner = "www-data";
    datagram.owner_uid = 33;
    datagram.to = "hostB";
    for (const auto kind : wire::EnumValuesKind()) {
      datagram.kind = kind;
      datagram.to_epoch = kind == wire::Kind::Confirm ? 7 : 0;
      WipingBuilder b;
      b.Finish(wire::Datagram::Pack(b, &datagram));
      write("datagram_" + file_name(EnumNameKind(kind)), 'd', b.take());
    }
    write("datagram_patched", 'D', std::vector<std::uint8_t>{0, 1, 0xff, 0, 3, 0xff, 0, 5, 0});
  }
}

// A scenario of fuzz_record_bio.cc: operations with an amount each.
class Scenario {
 public:
  Scenario& peer_sends(const std::string& bytes) {
    add(0, bytes.size());
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  Scenario& peer_sends_record(std::size_t blocks) { return add(1, blocks); }
  Scenario& read(std::size_t blocks) { return add(2, blocks); }
  Scenario& write(std::size_t blocks) { return add(3, blocks); }
  Scenario& peer_receives(std::size_t blocks) { return add(4, blocks); }
  Scenario& move() { return add(5, 1); }
  const std::vector<std::uint8_t>& bytes() const { return bytes_; }

 private:
  Scenario& add(std::uint8_t operation, std::size_t amount) {
    bytes_.push_back(operation);
    bytes_.push_back(static_cast<std::uint8_t>(amount - 1));
    return *this;
  }
  std::vector<std::uint8_t> bytes_;
};

void write_scenarios(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  const auto write = [&](const char* name, const Scenario& scenario) {
    std::ofstream out(folder / name, std::ios::binary);
    out.write(reinterpret_cast<const char*>(scenario.bytes().data()),
              static_cast<long>(scenario.bytes().size()));
  };
  const std::string head("\x17\x03\x03\x00\x08", 5), body(8, 'x');
  write("record_in_one_piece", Scenario().peer_sends(head + body).read(1));
  write("record_cut_in_its_head",
        Scenario().peer_sends(head.substr(0, 3)).read(1).peer_sends(head.substr(3) + body).read(1));
  write("record_cut_in_its_body",
        Scenario().peer_sends(head + body.substr(0, 3)).read(1).peer_sends(body.substr(3)).read(1));
  write("move_inside_a_head",
        Scenario().peer_sends(head.substr(0, 3)).read(1).move().peer_sends(head.substr(3) + body));
  write("move_inside_a_body",
        Scenario().peer_sends(head + body.substr(0, 3)).move().peer_sends(body.substr(3)).read(1));
  write("move_between_records",
        Scenario().peer_sends_record(2).read(16).move().peer_sends_record(2).read(16));
  write("bytes_that_are_no_record", Scenario().peer_sends("GET / HTTP/1.1\r\n").read(1).move());
  write("interrupted_write_moves", Scenario().write(256).write(256).move().peer_receives(256));
  write("interrupted_write_continues",
        Scenario().write(256).write(256).peer_receives(256).write(256).peer_receives(256));
  write("both_directions_with_moves", Scenario()
                                          .peer_sends_record(4)
                                          .write(64)
                                          .read(3)
                                          .move()
                                          .peer_receives(32)
                                          .read(64)
                                          .write(64)
                                          .move());
}

// The ClientHello that libssl sends.
Bytes client_hello() {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL* ssl = SSL_new(context);
  SSL_set_tlsext_host_name(ssl, "www.example.org");
  BIO* out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
  SSL_set_connect_state(ssl);
  SSL_do_handshake(ssl);
  Bytes bytes(BIO_ctrl_pending(out));
  BIO_read(out, bytes.data(), static_cast<int>(bytes.size()));
  SSL_free(ssl);
  SSL_CTX_free(context);
  return bytes;
}

void write_proxy(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  const auto write = [&](const char* name, char kind, ByteView bytes) {
    std::ofstream out(folder / name, std::ios::binary);
    out.put(kind).write(reinterpret_cast<const char*>(bytes.data()),
                        static_cast<long>(bytes.size()));
  };
  const auto client = *SocketAddress::parse("[fd00::9]:40000"),
             local = *SocketAddress::parse("[fd00::1]:443");
  using proxy::ProxyVersion;
  write("header_of_version_1", 'p', proxy::write_proxy_header(ProxyVersion::One, client, local));
  write("header_of_version_2", 'p', proxy::write_proxy_header(ProxyVersion::Two, client, local));
  write("unknown_client_1", 'p', proxy::write_proxy_header(ProxyVersion::One, {}, {}));
  write("unknown_client_2", 'p', proxy::write_proxy_header(ProxyVersion::Two, {}, {}));
  write("client_hello", 'h', client_hello());
  write("protocols", 'a', proxy::write_protocols({"h2", "http/1.1"}));
  proxy::RelayState state{.service = "app", .listener = "web", .backend = "one"};
  state.client = client;
  state.local = local;
  state.to_backend.pending = {1, 2, 3};
  state.to_client.end = proxy::End::Closed;
  write("state", 's', proxy::encode(state));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 1;
  write_messages(std::filesystem::path(argv[1]) / "fuzz_messages");
  write_scenarios(std::filesystem::path(argv[1]) / "fuzz_record_bio");
  write_proxy(std::filesystem::path(argv[1]) / "fuzz_proxy");
}
