// Relays bytes between the two legs of a connection, without an event loop: step() does
// what is possible now, and says what to wait for.
//
// Invariants:
// - Between two steps the state is whole: a byte is in a socket (or its TLS), or pending.
//   So a relay can stop there at any moment, and another one continues from the state.
// - Of a direction at most kMaxPendingBytes are pending, and as long as any are, nothing
//   more is read: a slow reader slows the writer down.
// - An end passes as an end once all bytes before it have passed, a reset as a reset.
//
// Bytes are read into a buffer that all relays of a thread share; only what the other leg
// does not take immediately needs memory of its own. So an idle connection has none.
#pragma once

#include <memory>

#include "proxy/relay_state.h"
#include "proxy/stream.h"

namespace sockmi::proxy {

// What to wait for at a socket.
struct Interest {
  bool read = false, write = false;
};

class Relay {
 public:
  enum class Progress {
    Waiting,   // for what client_interest() and backend_interest() say
    More,      // the step was long enough: others are served first
    Finished,  // both directions have ended; error() says how a write has failed, if one has
    Failed,    // see error(); the sockets end with a reset when the relay is destroyed
  };

  // What a relay consists of. If it is destroyed with its legs, those that are still
  // needed end with a reset, so that no peer takes a part of the data for the whole. A
  // leg that has ended in both directions just closes: the kernel still sends what its
  // socket has.
  struct Parts {
    Parts() = default;
    Parts(RelayState whole, std::unique_ptr<Stream> to_client, std::unique_ptr<Stream> to_backend)
        : state(std::move(whole)),
          client(std::move(to_client)),
          backend(std::move(to_backend)) {}
    Parts(Parts&&) noexcept = default;
    Parts& operator=(Parts&&) = delete;
    ~Parts();

    RelayState state;
    std::unique_ptr<Stream> client, backend;
  };

  explicit Relay(Parts parts) : parts_(std::move(parts)) {}

  Progress step();

  Interest client_interest() const { return client_interest_; }
  Interest backend_interest() const { return backend_interest_; }
  // Counts what has passed since the relay was made; it has no other meaning.
  std::uint64_t activity() const { return activity_; }
  RelayState& state() { return parts_.state; }
  Stream& client() { return *parts_.client; }
  Stream& backend() { return *parts_.backend; }
  const Error& error() const { return error_; }
  // Gives the legs and the state away. The relay must not be used any more.
  Parts take() && { return std::move(parts_); }

 private:
  enum class Pass { Waits, More, Over, Failed };
  struct Leg {
    Stream& stream;
    Interest& interest;
  };

  Progress advance();
  Pass pass(Direction& direction, Leg from, Leg to);
  Pass pass_once(Direction& direction, Leg from, Leg to);
  Pass flush(Direction& direction, Leg to);
  Pass pass_end(Direction& direction, Leg to);
  Pass after_write_failed(Direction& direction, Stream& to);
  Progress fail_with(Error error);

  Parts parts_;
  Interest client_interest_, backend_interest_;
  std::uint64_t activity_ = 0;
  Error error_;
};

}  // namespace sockmi::proxy
