// Writes one message of each kind, as seeds for fuzz_messages: make_seeds FOLDER.
#include <filesystem>
#include <fstream>

#include "wire/control_messages.h"
#include "wire/discovery_generated.h"
#include "wire/flatbuffer.h"
#include "wire/late_write.h"

int main(int argc, char** argv) {
  using namespace sockmi;
  using namespace sockmi::wire;
  if (argc != 2) return 1;
  const auto write = [&](const char* name, char kind, ByteView bytes) {
    std::ofstream out(std::filesystem::path(argv[1]) / name, std::ios::binary);
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
  FreezeDeltaT& late = committed[0].late;
  late.bytes = {1, 2, 3};
  late.acked = 4;
  late.window = 5;
  write("commit", 'm', pack_commit(committed));
  write("abort", 'm', pack_abort({&id, 1}));
  write("inquire", 'm', pack_query_outcome(id));
  write("expect", 'm', pack_standby());
  write("passages", 'm',
        pack_path_queries({{.tuple = {local, remote}, .largest = 100, .near = true}}));
  write("ahead", 'm', pack_pre_copy(id, late.bytes));
  write("moved", 'm', pack_moved({local, remote}, local.ip, "hostB"));
  write("held", 'm', pack_query_holder({local, remote}, "web", local));
  write("take_over", 'm', pack_take_over(TakeOverStep::Hold, local.ip, 24, true));
  late.written = {6, 7};
  late.sent = 1;
  late.more = true;
  write("rest", 'm', pack_late_write(id, late));
  write("rest_untouched", 'm', pack_late_write({&id, 1}));
  StragglerT straggler;
  straggler.local = to_string(local);
  straggler.remote = to_string(remote);
  straggler.late = std::make_unique<FreezeDeltaT>(late);
  write("straggler", 'm', pack_straggler(straggler));
  for (const auto type :
       EnumValuesRequest()) {  // FlatBuffers accepts a union that has a type and no value
    WipingBuilder b;
    b.Finish(CreateMessage(b, type));
    write(("null_" + std::to_string(static_cast<int>(type))).c_str(), 'm', b.take());
  }
  write("ended", 'm', pack_ended({local, remote}));
  write("answer", 'a', pack_answer(fail(ENOBUFS, "full"), -1));
  const std::vector<std::uint8_t> ip{10, 0, 0, 9}, bytes(8, 'x');
  {
    WipingBuilder b;
    const std::vector parts{CreateExportPartDirect(b, 0x40, &bytes, &bytes)};
    b.Finish(CreateExportRequestDirect(b, "web", &ip, 1000, &parts));
    write("export", 'e', b.take());
  }
  {
    WipingBuilder b;
    const std::vector criteria{CreateCriteriaDirect(
        b, "web", 0x40, 0x40, CreateMatchDirect(b, &ip, 24, 443), CreateMatch(b))};
    b.Finish(CreateImportRequestDirect(b, &criteria, -1));
    write("import", 'i', b.take());
  }
  {
    WipingBuilder b;
    const std::vector delivered{CreateDeliveredDirect(b, 0, &bytes, 0x40, &bytes, &bytes)};
    b.Finish(CreateImportResponseDirect(b, &delivered));
    write("delivered", 'r', b.take());
  }
  {
    wire::DatagramT datagram;
    datagram.kind = wire::Kind::Request;
    datagram.sender = "hostA";
    datagram.line = datagram.local = datagram.remote = "10.0.0.1:443";
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
      write(("datagram_" + std::to_string(static_cast<int>(kind))).c_str(), 'd', b.take());
    }
    write("datagram_patched", 'D', std::vector<std::uint8_t>{0, 1, 0xff, 0, 3, 0xff, 0, 5, 0});
  }
}
