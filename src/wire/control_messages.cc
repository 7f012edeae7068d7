#include "wire/control_messages.h"

#include <algorithm>

#include "wire/flatbuffer.h"

namespace sockmi::wire {
namespace {

constexpr std::size_t kMaxNameSize = 255;
constexpr std::uint32_t kMaxPadding = 1 << 17;  // twice the largest packet
constexpr std::size_t kMaxReasonSize = 1024;    // of an error, for logs and users

template <class Table>
Secret pack(Request type, WipingBuilder& builder, flatbuffers::Offset<Table> request) {
  builder.Finish(CreateMessage(builder, type, request.Union()));
  return builder.take();
}

flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> vector(WipingBuilder& builder,
                                                              ByteView bytes) {
  return builder.CreateVector(bytes.data(), bytes.size());
}

// Returns the peer's address; "" for a bound or listening socket, which has no peer.
std::string remote_of(const FourTuple& tuple) {
  return tuple.remote.port == 0 ? std::string() : to_string(tuple.remote);
}

// Reads an error that another host has sent. Control characters are replaced: the text
// also reaches the operator's terminal and, by sockmi_last_error(), logs of applications.
Error error_of(int code, const flatbuffers::String* reason) {
  std::string text = string(reason).substr(0, kMaxReasonSize);
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
  return {code, std::move(text)};
}

}  // namespace

std::string to_hex(const MigrationId& id) {
  std::string out;
  for (const auto byte : id)
    fmt::format_to(std::back_inserter(out), "{:02x}", byte);
  return out;
}

Result<MigrationId> read_id(ByteView bytes) {
  MigrationId id;
  if (bytes.size() != id.size()) {
    return fail(EBADMSG, "invalid migration id: expected {} bytes, found {}", id.size(),
                bytes.size());
  }
  std::ranges::copy(bytes, id.begin());
  return id;
}

FourTuple tuple_of(const TcpT& tcp) {
  // The tuple of such a socket has an unset address, which differs from 0.0.0.0:0.
  const bool passive = tcp.remote_ip.empty() || tcp.remote_port == 0;
  const IpAddress remote = passive ? IpAddress() : *IpAddress::from_bytes(tcp.remote_ip);
  return {{*IpAddress::from_bytes(tcp.local_ip), tcp.local_port}, {remote, tcp.remote_port}};
}

Secret pack_prepare(std::span<const OutgoingImage> endpoints,
                    const SocketAddress& control_address) {
  std::size_t size = 1024;
  for (const auto& [id, endpoint, pre_copied] : endpoints) {
    size += 2048 + endpoint->tls.size() + endpoint->payload.size() +
            endpoint->tcp.receive_queue.size() + endpoint->tcp.send_queue.size();
  }
  WipingBuilder builder(size);
  std::vector<flatbuffers::Offset<wire::PreparedImage>> all;
  for (const auto& [id, endpoint, pre_copied] : endpoints) {
    const auto service = builder.CreateString(endpoint->service);
    const auto owner = builder.CreateString(endpoint->owner.name);
    const auto tcp = Tcp::Pack(builder, &endpoint->tcp);
    const auto tls = vector(builder, endpoint->tls);
    const auto payload = vector(builder, endpoint->payload);
    const auto home = builder.CreateString(endpoint->home);
    const auto home_control = builder.CreateString(to_string(endpoint->home_control));
    const auto image = CreateEndpointImage(builder, service, owner, endpoint->state, tcp, tls,
                                           payload, home, home_control, endpoint->generation,
                                           endpoint->owner.uid, endpoint->group);
    all.push_back(CreatePreparedImage(builder, vector(builder, id), image, pre_copied));
  }
  return pack(Request::Prepare, builder,
              CreatePrepareDirect(builder, to_string(control_address).c_str(), &all));
}

Result<Endpoint> read_endpoint(const EndpointImage* from) {
  if (!from || !from->tcp() || !from->service() || !from->owner() || !from->home() ||
      !from->home_control())
    return fail(EBADMSG, "invalid endpoint: parts are missing");
  for (const auto* name : {from->service(), from->owner(), from->home()})
    if (name->size() > kMaxNameSize) return fail(EBADMSG, "invalid name of {} bytes", name->size());
  if (has_unknown_fields(*from))
    return fail(ENOTSUP, "unsupported endpoint: it has parts that only a newer version knows");
  Endpoint out;
  out.service = from->service()->str();
  out.owner = {from->owner_uid(), from->owner()->str()};
  out.state = from->state();
  from->tcp()->UnPackTo(&out.tcp);
  TRY(IpAddress::from_bytes(out.tcp.local_ip));
  // Bound and listening sockets have no peer.
  if (!out.tcp.remote_ip.empty()) TRY(IpAddress::from_bytes(out.tcp.remote_ip));
  out.tls = secret(from->tls());
  out.payload = secret(from->payload());
  out.home = from->home()->str();
  TRY_LET(control_address, SocketAddress::parse(from->home_control()->str()));
  out.home_control = control_address;
  out.generation = from->generation();
  out.group = from->group();
  return out;
}

Result<std::vector<IncomingImage>> read_prepare(const Prepare& from) {
  std::vector<IncomingImage> out;
  if (!from.endpoints()) return out;
  if (from.endpoints()->size() > kMostEndpoints)
    return fail(EMSGSIZE, "invalid message: {} endpoints", from.endpoints()->size());
  for (const auto* each : *from.endpoints()) {
    const auto id = read_id(view(each->id()));
    out.push_back({.id = id.value_or(MigrationId()),
                   .endpoint = id ? read_endpoint(each->endpoint()) : std::unexpected(id.error()),
                   .pre_copied = each->pre_copied(),
                   .group = each->endpoint() ? each->endpoint()->group() : 0});
  }
  return out;
}

Secret pack_commit(const std::vector<Committed>& endpoints) {
  WipingBuilder builder(1024);
  std::vector<flatbuffers::Offset<CommittedImage>> all;
  all.reserve(endpoints.size());
  for (const Committed& each : endpoints) {
    all.push_back(CreateCommittedImage(builder, vector(builder, each.id),
                                       FreezeDelta::Pack(builder, &each.delta)));
  }
  return pack(Request::Commit, builder, CreateCommitDirect(builder, &all));
}

Result<std::vector<Committed>> read_commit(const Commit& from) {
  std::vector<Committed> out;
  if (!from.endpoints()) return out;
  if (from.endpoints()->size() > kMostEndpoints)
    return fail(EMSGSIZE, "invalid message: {} endpoints", from.endpoints()->size());
  for (const auto* each : *from.endpoints()) {
    TRY_LET(id, read_id(view(each->id())));
    Committed& endpoint = out.emplace_back(Committed{.id = id});
    if (each->delta()) each->delta()->UnPackTo(&endpoint.delta);
  }
  return out;
}

Secret pack_abort(std::span<const MigrationId> ids) {
  WipingBuilder builder;
  const auto* first = reinterpret_cast<const std::uint8_t*>(ids.data());
  return pack(Request::Abort, builder,
              CreateAbort(builder, builder.CreateVector(first, ids.size_bytes())));
}

Result<std::vector<MigrationId>> read_ids(ByteView bytes) {
  std::vector<MigrationId> out;
  if (bytes.size() > kMostEndpoints * sizeof(MigrationId))
    return fail(EMSGSIZE, "invalid message: {} bytes of migration ids", bytes.size());
  for (; !bytes.empty(); bytes = bytes.subspan(sizeof(MigrationId))) {
    TRY_LET(id, read_id(bytes.first(std::min(bytes.size(), sizeof(MigrationId)))));
    out.push_back(id);
  }
  return out;
}

Secret pack_late_write(const MigrationId& id, const FreezeDeltaT& delta) {
  WipingBuilder builder(256 + delta.written.size());
  const auto name = vector(builder, id);
  return pack(Request::LateWrite, builder,
              CreateLateWrite(builder, name, FreezeDelta::Pack(builder, &delta)));
}

Secret pack_late_write(std::span<const MigrationId> untouched) {
  WipingBuilder builder;
  const auto* first = reinterpret_cast<const std::uint8_t*>(untouched.data());
  return pack(Request::LateWrite, builder,
              CreateLateWrite(builder, builder.CreateVector(first, untouched.size_bytes())));
}

Secret pack_straggler(const StragglerT& straggler) {
  WipingBuilder builder(256 + straggler.delta->bytes.size());
  return pack(Request::Straggler, builder, Straggler::Pack(builder, &straggler));
}

Secret pack_standby() {
  WipingBuilder builder;
  return pack(Request::Standby, builder, CreateStandby(builder));
}

Secret pack_path_queries(const std::vector<PathRequirements>& connections) {
  WipingBuilder builder;
  std::vector<flatbuffers::Offset<PathQuery>> queries;
  std::uint32_t largest = 0;
  for (const auto& [tuple, size, near] : connections) {
    const auto local = builder.CreateString(to_string(tuple.local)),
               remote = builder.CreateString(to_string(tuple.remote));
    queries.push_back(CreatePathQuery(builder, local, remote, size, near));
    largest = std::max(largest, size);
  }
  const auto all = builder.CreateVector(queries);
  // The padding has twice the size of the largest packet, because one packet is full only
  // if the data extends past its end.
  return pack(
      Request::PathQueries, builder,
      CreatePathQueries(builder, all, vector(builder, Bytes(std::min(2 * largest, kMaxPadding)))));
}

Result<std::vector<PathRequirements>> read_path_queries(const PathQueries& said) {
  std::vector<PathRequirements> connections;
  if (!said.connections()) return connections;
  if (said.connections()->size() > kMostEndpoints)
    return fail(EMSGSIZE, "invalid message: {} connections", said.connections()->size());
  for (const auto* each : *said.connections()) {
    TRY_LET(tuple, read_tuple(each->local(), each->remote()));
    if (tuple.remote.port == 0)
      return fail(EBADMSG, "invalid message: a connection without a peer");
    connections.push_back({tuple, each->largest(), each->near()});
  }
  return connections;
}

Secret pack_pre_copy(const MigrationId& id, ByteView bytes) {
  WipingBuilder builder(256 + bytes.size());
  const auto name = vector(builder, id);
  return pack(Request::PreCopy, builder, CreatePreCopy(builder, name, vector(builder, bytes)));
}

Secret pack_query_outcome(const MigrationId& id) {
  WipingBuilder builder;
  return pack(Request::QueryOutcome, builder, CreateQueryOutcome(builder, vector(builder, id)));
}

Secret pack_moved(const FourTuple& tuple, const IpAddress& to, const std::string& host,
                  const std::string& service, std::uint64_t generation) {
  WipingBuilder builder;
  return pack(Request::Moved, builder,
              CreateMovedDirect(builder, to_string(tuple.local).c_str(), remote_of(tuple).c_str(),
                                to_string(to).c_str(), host.c_str(), service.c_str(), generation));
}

Secret pack_query_holder(const FourTuple& tuple, const std::string& service,
                         const SocketAddress& control_address, std::uint64_t generation,
                         bool routed) {
  WipingBuilder builder;
  return pack(Request::QueryHolder, builder,
              CreateQueryHolderDirect(builder, to_string(tuple.local).c_str(),
                                      remote_of(tuple).c_str(), service.c_str(),
                                      to_string(control_address).c_str(), generation, routed));
}

Secret pack_ended(const FourTuple& tuple, std::uint64_t generation) {
  WipingBuilder builder;
  return pack(Request::Ended, builder,
              CreateEndedDirect(builder, to_string(tuple.local).c_str(), remote_of(tuple).c_str(),
                                generation));
}

Secret pack_take_over(TakeOverStep step, const IpAddress& address, unsigned prefix,
                      bool deprecated) {
  WipingBuilder builder;
  return pack(Request::TakeOver, builder,
              CreateTakeOverDirect(builder, step, to_string(address).c_str(),
                                   static_cast<std::uint8_t>(prefix), deprecated));
}

Result<FourTuple> read_tuple(const flatbuffers::String* local, const flatbuffers::String* remote) {
  TRY_LET(ours, SocketAddress::parse(string(local)));
  if (string(remote).empty()) return FourTuple{ours, {}};
  TRY_LET(theirs, SocketAddress::parse(string(remote)));
  if (theirs.port == 0) return fail(EBADMSG, "invalid message: a peer of port 0");
  return FourTuple{ours, theirs};
}

Secret pack_answer(const Result<>& result, int decided) {
  WipingBuilder builder(256);
  builder.Finish(CreateAnswerDirect(builder, result ? 0 : result.error().code,
                                    result ? "" : result.error().reason.c_str(),
                                    static_cast<std::int8_t>(decided)));
  return builder.take();
}

Secret pack_answer(const std::vector<Result<>>& verdicts, std::chrono::microseconds took) {
  WipingBuilder builder(64 + 32 * verdicts.size());
  std::vector<flatbuffers::Offset<Verdict>> all;
  all.reserve(verdicts.size());
  for (const auto& verdict : verdicts) {
    all.push_back(CreateVerdictDirect(builder, verdict ? 0 : verdict.error().code,
                                      verdict ? nullptr : verdict.error().reason.c_str()));
  }
  builder.Finish(
      CreateAnswerDirect(builder, 0, "", 0, &all, static_cast<std::uint32_t>(took.count())));
  return builder.take();
}

Result<std::vector<Result<>>> read_verdicts(ByteView bytes, std::size_t count) {
  TRY(read_answer(bytes));
  TRY_LET(answer, read<Answer>(bytes));
  if (!answer->verdicts() || answer->verdicts()->size() != count)
    return fail(EPROTO, "invalid message: not as many verdicts as endpoints");
  std::vector<Result<>> out;
  for (const auto* each : *answer->verdicts()) {
    out.push_back(each->error() == 0 ? Result<>()
                                     : std::unexpected(error_of(each->error(), each->reason())));
  }
  return out;
}

Result<int> answer_of(const Result<Secret>& reply) {
  if (!reply) return std::unexpected(reply.error());
  return read_answer(ByteView(*reply));
}

Result<std::vector<Result<>>> verdicts_of(const Result<Secret>& reply, std::size_t count) {
  if (!reply) return std::unexpected(reply.error());
  return read_verdicts(ByteView(*reply), count);
}

Result<std::chrono::microseconds> read_took(ByteView bytes) {
  TRY_LET(answer, read<Answer>(bytes));
  return std::chrono::microseconds(answer->took_us());
}

Result<int> read_answer(ByteView bytes) {
  TRY_LET(answer, read<Answer>(bytes));
  if (answer->error() != 0) return std::unexpected(error_of(answer->error(), answer->reason()));
  return answer->decided();
}

}  // namespace sockmi::wire
