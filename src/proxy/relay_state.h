// The whole state of a proxied connection, but for the two sockets (and what TLS has):
// with this and the sockets, any proxy that has the service continues the connection.
//
// The encoding is a FlatBuffer (relay_image.fbs). A reader checks all sizes, and refuses
// a state with parts that it does not know, because they would be lost.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/address.h"
#include "base/secret.h"

namespace sockmi::proxy {

// What was read in one direction and not taken by the other leg yet is at most this much.
inline constexpr std::size_t kMaxPendingBytes = 64 << 10;

// The state of one direction's end.
enum class End : std::uint8_t {
  Open,    // more may come
  Ending,  // the source has ended; the target is told when it has all bytes
  Closed,  // the target has been told
  Broken,  // the target takes nothing any more; what comes is not read
};

struct Direction {
  Bytes pending;
  std::size_t taken = 0;    // of `pending`, from its beginning
  std::uint64_t bytes = 0;  // the target has taken since the connection began
  End end = End::Open;
  bool truncated = false;  // the source ended its TLS without close_notify

  ByteView left() const { return ByteView(pending).subspan(taken); }
  bool ended() const { return end == End::Closed || end == End::Broken; }
};

struct RelayState {
  std::string service, listener, backend;
  SocketAddress client;  // unspecified for a client on a Unix socket
  SocketAddress local;   // where the client had connected to
  std::chrono::system_clock::time_point begun;
  std::chrono::milliseconds idle_left{0};
  Direction to_backend, to_client;

  // Whether something is still to be read from this leg, or written to it.
  bool needs_client() const { return !to_client.ended() || to_backend.end == End::Open; }
  bool needs_backend() const { return !to_backend.ended() || to_client.end == End::Open; }
};

Secret encode(const RelayState& state);
// Errors: EBADMSG if the bytes are malformed; ENOTSUP if a newer version has written
// them.
Result<RelayState> decode(ByteView bytes);

}  // namespace sockmi::proxy
