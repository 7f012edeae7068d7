// An endpoint on its way: everything that travels, and the messages about it.
#pragma once

#include <array>
#include <string>

#include "base/address.h"
#include "base/error.h"
#include "base/secret.h"
#include "image/message_generated.h"

namespace sockmi::image {

using MigrationId = std::array<std::uint8_t, 16>;
std::string to_hex(const MigrationId& id);
Result<MigrationId> read_id(ByteView bytes);

struct Endpoint {
  std::string service;
  std::string owner;          // name of the exporting user
  std::uint8_t state = 0;     // one SOCKMI_* bit
  TcpT tcp;
  Secret tls;                 // sealed; empty: no TLS
  Secret payload;
  std::string home;           // host that owns the local address
  SocketAddress home_line;    // where it listens for other daemons
};

FourTuple tuple_of(const TcpT& tcp);  // of a checked image

Secret pack_prepare(const MigrationId& id, const Endpoint& endpoint, const SocketAddress& line);
Result<Endpoint> read_endpoint(const EndpointImage* from);
Secret pack_commit(const MigrationId& id);
Secret pack_abort(const MigrationId& id);
Secret pack_inquire(const MigrationId& id);
Secret pack_moved(const FourTuple& tuple, const IpAddress& to, const std::string& host, const std::string& service = {});
Secret pack_held(const FourTuple& tuple, const std::string& service, const SocketAddress& line);
Secret pack_ended(const FourTuple& tuple);
// The connection that a Moved, an Ended or a Held speaks of.
Result<FourTuple> read_tuple(const flatbuffers::String* local, const flatbuffers::String* remote);
Secret pack_answer(const Result<>& result, int decided = 0);
// What an answer says: its own error as ours. `decided` as in message.fbs.
Result<int> read_answer(ByteView bytes);

}  // namespace sockmi::image
