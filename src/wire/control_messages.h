// Packs and reads the control messages: an endpoint with everything that travels, and the
// messages about it.
#pragma once

#include <array>
#include <chrono>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"
#include "base/secret.h"
#include "base/user.h"
#include "wire/control_generated.h"

namespace sockmi::wire {

using MigrationId = std::array<std::uint8_t, 16>;
std::string to_hex(const MigrationId& id);
Result<MigrationId> read_id(ByteView bytes);

struct Endpoint {
  std::string service;
  User owner;              // the user who exported it
  std::uint8_t state = 0;  // one SOCKMI_* bit
  TcpT tcp;
  Secret tls;  // sealed; empty: no TLS
  Secret payload;
  std::string home;              // the host that owns the local address
  SocketAddress home_control;    // where home's control channel listens
  std::uint64_t generation = 0;  // see connections/records.h
  // Not 0: it moves together with the other endpoints of its batch that have this number,
  // or not at all.
  std::uint32_t group = 0;
};

// Upper limit per group.
inline constexpr std::size_t kMostOfAGroup = 16;

// `tcp` must belong to a checked image.
FourTuple tuple_of(const TcpT& tcp);

// Upper limit per message; a batch has the same limit.
inline constexpr std::size_t kMostEndpoints = 4096;

// An endpoint of a Prepare. One message carries a batch.
struct OutgoingImage {
  MigrationId id;
  const Endpoint* endpoint;
  // Number of bytes in front of its receive queue that the importer already has from
  // pre-copy.
  std::uint32_t pre_copied = 0;
};
// An endpoint of a Prepare, as its reader has it.
struct IncomingImage {
  MigrationId id{};
  Result<Endpoint> endpoint;  // why it cannot be read
  std::uint32_t pre_copied = 0, group = 0;
};
// See PathQuery in control.fbs.
struct PathRequirements {
  FourTuple tuple;
  std::uint32_t largest = 0;
  bool near = false;
};
struct Committed {
  MigrationId id{};
  FreezeDeltaT delta;
};

Secret pack_prepare(std::span<const OutgoingImage> endpoints, const SocketAddress& control_address);
Result<Endpoint> read_endpoint(const EndpointImage* from);
// Errors: EMSGSIZE if there are too many endpoints.
Result<std::vector<IncomingImage>> read_prepare(const Prepare& from);
Secret pack_commit(const std::vector<Committed>& endpoints);
Result<std::vector<Committed>> read_commit(const Commit& from);
Secret pack_abort(std::span<const MigrationId> ids);
Result<std::vector<MigrationId>> read_ids(ByteView bytes);  // 16 bytes each
Secret pack_standby();
Secret pack_path_queries(const std::vector<PathRequirements>& connections);
Result<std::vector<PathRequirements>> read_path_queries(const PathQueries& said);
Secret pack_pre_copy(const MigrationId& id, ByteView bytes);
Secret pack_query_outcome(const MigrationId& id);
Secret pack_late_write(const MigrationId& id, const FreezeDeltaT& delta);
// One message for many sockets to which nothing more was done.
Secret pack_late_write(std::span<const MigrationId> untouched);
Secret pack_straggler(const StragglerT& straggler);
Secret pack_moved(const FourTuple& tuple, const IpAddress& to, const std::string& host,
                  const std::string& service = {}, std::uint64_t generation = 0);
Secret pack_query_holder(const FourTuple& tuple, const std::string& service,
                         const SocketAddress& control_address, std::uint64_t generation = 0,
                         bool routed = false);
Secret pack_ended(const FourTuple& tuple, std::uint64_t generation = 0);
Secret pack_take_over(TakeOverStep step, const IpAddress& address, unsigned prefix,
                      bool deprecated);
// Reads the connection that a Moved, an Ended or a QueryHolder is about. An empty
// `remote`: it has no peer.
Result<FourTuple> read_tuple(const flatbuffers::String* local, const flatbuffers::String* remote);
Secret pack_answer(const Result<>& result, int decided = 0);
Secret pack_answer(const std::vector<Result<>>& verdicts, std::chrono::microseconds took = {});
// Returns the field `decided` of an answer (see control.fbs), or the answer's own error.
Result<int> read_answer(ByteView bytes);
// Returns the verdicts on `count` endpoints. Errors: EPROTO if the answer has another
// number of verdicts; or the answer's own error.
Result<std::vector<Result<>>> read_verdicts(ByteView bytes, std::size_t count);
// The same for the outcome of a call: an error is returned unchanged.
Result<int> answer_of(const Result<Secret>& reply);
Result<std::vector<Result<>>> verdicts_of(const Result<Secret>& reply, std::size_t count);
// Returns how long the other host took for its answer, by its own measurement.
Result<std::chrono::microseconds> read_took(ByteView bytes);

}  // namespace sockmi::wire
