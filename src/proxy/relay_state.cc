#include "proxy/relay_state.h"

#include <algorithm>

#include "proxy/relay_image_generated.h"
#include "wire/flatbuffer.h"

namespace sockmi::wire {

template <>
inline constexpr bool kWholeOrNot<RelayImage> = true;

}  // namespace sockmi::wire

namespace sockmi::proxy {
namespace {

using flatbuffers::Offset;
using std::chrono::milliseconds;

constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kMaxNameBytes = 255;
constexpr std::int64_t kMaxBegunMs = 9'000'000'000'000;  // 2255: the clock has nanoseconds

Offset<wire::DirectionImage> pack(flatbuffers::FlatBufferBuilder& builder, const Direction& from) {
  const auto left = from.left();
  const auto pending = builder.CreateVector(left.data(), left.size());
  return wire::CreateDirectionImage(builder, pending, from.bytes,
                                    static_cast<wire::EndImage>(from.end), from.truncated);
}

std::uint32_t wire_ms(milliseconds time) {
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(time.count(), 0, UINT32_MAX));
}

Result<Direction> unpack(const wire::DirectionImage* from) {
  if (!from) return fail(EBADMSG, "a direction is missing");
  Direction out;
  const auto pending = wire::view(from->pending());
  if (pending.size() > kMaxPendingBytes) return fail(EBADMSG, "too many pending bytes");
  if (from->end() > wire::EndImage::MAX) return fail(EBADMSG, "invalid state of a direction");
  out.pending.assign(pending.begin(), pending.end());
  out.bytes = from->bytes();
  out.end = static_cast<End>(from->end());
  out.truncated = from->truncated();
  if (out.ended() && !out.pending.empty()) return fail(EBADMSG, "pending bytes after the end");
  return out;
}

Result<SocketAddress> unpack(const flatbuffers::Vector<std::uint8_t>* ip, std::uint16_t port) {
  if (wire::view(ip).empty()) return SocketAddress();
  TRY_LET(address, IpAddress::from_bytes(wire::view(ip)));
  return SocketAddress{address, port};
}

Result<std::string> unpack(const flatbuffers::String* text, const char* what) {
  if (!text || text->size() == 0 || text->size() > kMaxNameBytes)
    return fail(EBADMSG, "invalid name of the {}", what);
  return text->str();
}

}  // namespace

Secret encode(const RelayState& state) {
  wire::WipingBuilder builder(512 + state.to_backend.pending.size() +
                              state.to_client.pending.size());
  const auto bytes = [&](const IpAddress& ip) {
    return builder.CreateVector(ip.bytes.data(), ip.size());
  };
  const auto service = builder.CreateString(state.service);
  const auto listener = builder.CreateString(state.listener);
  const auto backend = builder.CreateString(state.backend);
  const auto client = bytes(state.client.ip);
  const auto local = bytes(state.local.ip);
  const auto to_backend = pack(builder, state.to_backend);
  const auto to_client = pack(builder, state.to_client);
  const auto begun = std::chrono::duration_cast<milliseconds>(state.begun.time_since_epoch());
  builder.Finish(wire::CreateRelayImage(builder, kVersion, service, listener, backend, client,
                                        state.client.port, local, state.local.port, begun.count(),
                                        wire_ms(state.idle_left), to_backend, to_client));
  return builder.take();
}

Result<RelayState> decode(ByteView bytes) {
  const Secret aligned(bytes.begin(), bytes.end());
  TRY_LET(image, wire::read<wire::RelayImage>(aligned));
  if (image->version() != kVersion)
    return fail(ENOTSUP, "unsupported version {} of a connection's state", image->version());
  if (image->begun_ms() < 0 || image->begun_ms() > kMaxBegunMs)
    return fail(EBADMSG, "invalid time of the beginning");
  TRY_LET(service, unpack(image->service(), "service"));
  TRY_LET(listener, unpack(image->listener(), "listener"));
  TRY_LET(backend, unpack(image->backend(), "backend"));
  TRY_LET(client, unpack(image->client_ip(), image->client_port()));
  TRY_LET(local, unpack(image->local_ip(), image->local_port()));
  TRY_LET(to_backend, unpack(image->to_backend()));
  TRY_LET(to_client, unpack(image->to_client()));
  return RelayState{
      .service = std::move(service),
      .listener = std::move(listener),
      .backend = std::move(backend),
      .client = client,
      .local = local,
      .begun = std::chrono::system_clock::time_point(milliseconds(image->begun_ms())),
      .idle_left = milliseconds(image->idle_left_ms()),
      .to_backend = std::move(to_backend),
      .to_client = std::move(to_client),
  };
}

}  // namespace sockmi::proxy
