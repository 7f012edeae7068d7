#include "image/endpoint.h"

#include <algorithm>

#include "image/pack.h"

namespace sockmi::image {
namespace {

constexpr std::size_t kLongestName = 255;

template <class Table>
Secret pack(Request type, WipingBuilder& builder, flatbuffers::Offset<Table> request) {
  builder.Finish(CreateMessage(builder, type, request.Union()));
  return builder.take();
}

flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> vector(WipingBuilder& builder, ByteView bytes) {
  return builder.CreateVector(bytes.data(), bytes.size());
}

}  // namespace

std::string to_hex(const MigrationId& id) {
  std::string out;
  for (const auto byte : id) fmt::format_to(std::back_inserter(out), "{:02x}", byte);
  return out;
}

Result<MigrationId> read_id(ByteView bytes) {
  MigrationId id;
  if (bytes.size() != id.size()) return fail(EBADMSG, "a migration id has {} bytes, not {}", id.size(), bytes.size());
  std::ranges::copy(bytes, id.begin());
  return id;
}

FourTuple tuple_of(const TcpT& tcp) {
  return {{*IpAddress::from_bytes(tcp.local_ip), tcp.local_port}, {*IpAddress::from_bytes(tcp.remote_ip), tcp.remote_port}};
}

Secret pack_prepare(const MigrationId& id, const Endpoint& endpoint, const SocketAddress& line) {
  WipingBuilder builder(4096 + endpoint.tls.size() + endpoint.payload.size() + endpoint.tcp.receive_queue.size() +
                        endpoint.tcp.send_queue.size());
  const auto service = builder.CreateString(endpoint.service);
  const auto owner = builder.CreateString(endpoint.owner);
  const auto tcp = Tcp::Pack(builder, &endpoint.tcp);
  const auto tls = vector(builder, endpoint.tls);
  const auto payload = vector(builder, endpoint.payload);
  const auto home = builder.CreateString(endpoint.home);
  const auto home_line = builder.CreateString(to_string(endpoint.home_line));
  const auto image = CreateEndpointImage(builder, service, owner, endpoint.state, tcp, tls, payload, home, home_line);
  return pack(Request::Prepare, builder, CreatePrepare(builder, vector(builder, id), image, builder.CreateString(to_string(line))));
}

Result<Endpoint> read_endpoint(const EndpointImage* from) {
  if (!from || !from->tcp() || !from->service() || !from->owner() || !from->home() || !from->home_line())
    return fail(EBADMSG, "an endpoint with parts missing");
  for (const auto* name : {from->service(), from->owner(), from->home()})
    if (name->size() > kLongestName) return fail(EBADMSG, "a name of {} bytes", name->size());
  if (has_unknown_fields(*from)) return fail(ENOTSUP, "an endpoint with parts that only a newer build knows");
  Endpoint out;
  out.service = from->service()->str();
  out.owner = from->owner()->str();
  out.state = from->state();
  from->tcp()->UnPackTo(&out.tcp);
  TRY(IpAddress::from_bytes(out.tcp.local_ip));
  TRY(IpAddress::from_bytes(out.tcp.remote_ip));
  out.tls = secret(from->tls());
  out.payload = secret(from->payload());
  out.home = from->home()->str();
  TRY_LET(line, SocketAddress::parse(from->home_line()->str()));
  out.home_line = line;
  return out;
}

Secret pack_commit(const MigrationId& id) {
  WipingBuilder builder;
  return pack(Request::Commit, builder, CreateCommit(builder, vector(builder, id)));
}

Secret pack_abort(const MigrationId& id) {
  WipingBuilder builder;
  return pack(Request::Abort, builder, CreateAbort(builder, vector(builder, id)));
}

Secret pack_inquire(const MigrationId& id) {
  WipingBuilder builder;
  return pack(Request::Inquire, builder, CreateInquire(builder, vector(builder, id)));
}

Secret pack_moved(const FourTuple& tuple, const IpAddress& to, const std::string& host, const std::string& service) {
  WipingBuilder builder;
  return pack(Request::Moved, builder,
              CreateMovedDirect(builder, to_string(tuple.local).c_str(), to_string(tuple.remote).c_str(), to_string(to).c_str(),
                                host.c_str(), service.c_str()));
}

Secret pack_held(const FourTuple& tuple, const std::string& service, const SocketAddress& line) {
  WipingBuilder builder;
  return pack(Request::Held, builder,
              CreateHeldDirect(builder, to_string(tuple.local).c_str(), to_string(tuple.remote).c_str(), service.c_str(), to_string(line).c_str()));
}

Secret pack_ended(const FourTuple& tuple) {
  WipingBuilder builder;
  return pack(Request::Ended, builder,
              CreateEndedDirect(builder, to_string(tuple.local).c_str(), to_string(tuple.remote).c_str()));
}

Result<FourTuple> read_tuple(const flatbuffers::String* local, const flatbuffers::String* remote) {
  TRY_LET(ours, SocketAddress::parse(string(local)));
  TRY_LET(theirs, SocketAddress::parse(string(remote)));
  return FourTuple{ours, theirs};
}

Secret pack_answer(const Result<>& result, int decided) {
  WipingBuilder builder(256);
  builder.Finish(CreateAnswerDirect(builder, result ? 0 : result.error().code, result ? "" : result.error().reason.c_str(),
                                    static_cast<std::int8_t>(decided)));
  return builder.take();
}

Result<int> read_answer(ByteView bytes) {
  TRY_LET(answer, read<Answer>(bytes));
  if (answer->error() != 0) return std::unexpected(Error{answer->error(), string(answer->reason())});
  return answer->decided();
}

}  // namespace sockmi::image
