#include "proxy/relay.h"

#include <array>

namespace sockmi::proxy {
namespace {

using Kind = Outcome::Kind;

// A step passes at most this many buffers in one direction.
constexpr int kRounds = 8;

std::span<std::uint8_t> shared_buffer() {
  thread_local std::array<std::uint8_t, kMaxPendingBytes> buffer;
  return buffer;
}

// Adds what the outcome waits for.
void wait_for(Kind kind, Interest& interest) {
  if (kind == Kind::WantsRead) interest.read = true;
  if (kind == Kind::WantsWrite) interest.write = true;
}

}  // namespace

Relay::Parts::~Parts() {
  if (client && state.needs_client()) client->reset_at_close();
  if (backend && state.needs_backend()) backend->reset_at_close();
}

// A connection for which there is no memory ends; the others continue.
Relay::Progress Relay::step() {
  try {
    return advance();
  } catch (const std::exception& thrown) {
    return fail_with(Error{ENOMEM, thrown.what()});
  }
}

Relay::Progress Relay::advance() {
  client_interest_ = backend_interest_ = {};
  const Leg client{*parts_.client, client_interest_}, backend{*parts_.backend, backend_interest_};
  Direction &up = parts_.state.to_backend, &down = parts_.state.to_client;
  const Pass one = pass(up, client, backend);
  if (one == Pass::Failed) return fail_with(client.stream.error());
  const Pass other = pass(down, backend, client);
  if (other == Pass::Failed) return fail_with(backend.stream.error());
  if (up.ended() && down.ended()) return Progress::Finished;
  return one == Pass::More || other == Pass::More ? Progress::More : Progress::Waiting;
}

Relay::Pass Relay::pass(Direction& direction, Leg from, Leg to) {
  for (int round = 0; round < kRounds; ++round)
    if (const Pass passed = pass_once(direction, from, to); passed != Pass::More) return passed;
  return Pass::More;
}

Relay::Pass Relay::pass_once(Direction& direction, Leg from, Leg to) {
  if (direction.ended()) return Pass::Over;
  if (const Pass flushed = flush(direction, to); flushed != Pass::More) return flushed;
  if (direction.end == End::Ending) return pass_end(direction, to);

  const auto buffer = shared_buffer();
  const Outcome in = from.stream.read(buffer);
  switch (in.kind) {
    case Kind::Done: break;
    case Kind::WantsRead:
    case Kind::WantsWrite: wait_for(in.kind, from.interest); return Pass::Waits;
    case Kind::Truncated: direction.truncated = true; [[fallthrough]];
    case Kind::Ended: direction.end = End::Ending; return pass_end(direction, to);
    case Kind::Failed: return Pass::Failed;
  }
  activity_ += in.bytes;
  const ByteView bytes(buffer.data(), in.bytes);
  const Outcome out = to.stream.write(bytes);
  if (out.kind == Kind::Failed) return after_write_failed(direction, to.stream);
  direction.bytes += out.bytes;
  if (out.bytes == bytes.size()) return Pass::More;
  const auto rest = bytes.subspan(out.bytes);
  direction.pending.assign(rest.begin(), rest.end());
  direction.taken = 0;
  wait_for(out.kind, to.interest);
  return out.kind == Kind::Done ? Pass::More : Pass::Waits;
}

// Returns More when nothing is pending any more, nor in the stream: after an import its
// TLS may have the rest of a record that no later call would send.
Relay::Pass Relay::flush(Direction& direction, Leg to) {
  while (!direction.left().empty()) {
    const Outcome out = to.stream.write(direction.left());
    if (out.kind == Kind::Failed) return after_write_failed(direction, to.stream);
    wait_for(out.kind, to.interest);
    if (out.kind != Kind::Done) return Pass::Waits;
    direction.taken += out.bytes;
    direction.bytes += out.bytes;
    activity_ += out.bytes;
  }
  if (!direction.pending.empty()) direction.pending = {};
  direction.taken = 0;
  const Outcome out = to.stream.flush();
  if (out.kind == Kind::Failed) return after_write_failed(direction, to.stream);
  wait_for(out.kind, to.interest);
  return out.kind == Kind::Done ? Pass::More : Pass::Waits;
}

Relay::Pass Relay::pass_end(Direction& direction, Leg to) {
  const Outcome out = to.stream.end_output(direction.truncated);
  if (out.kind == Kind::Failed) return after_write_failed(direction, to.stream);
  wait_for(out.kind, to.interest);
  if (out.kind != Kind::Done) return Pass::Waits;
  direction.end = End::Closed;
  ++activity_;
  return Pass::Over;
}

// The target takes nothing any more, but what it has sent before may still be on its way:
// the other direction continues until it ends as well.
Relay::Pass Relay::after_write_failed(Direction& direction, Stream& to) {
  error_ = to.error();
  direction.end = End::Broken;
  direction.pending = {};
  direction.taken = 0;
  return Pass::Over;
}

Relay::Progress Relay::fail_with(Error error) {
  error_ = std::move(error);
  return Progress::Failed;
}

}  // namespace sockmi::proxy
