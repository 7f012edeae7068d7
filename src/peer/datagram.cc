#include "peer/datagram.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>

namespace sockmi::peer {
namespace {

constexpr std::size_t kMac = 32;
constexpr std::int64_t kWindowMs = 30'000;  // hosts' clocks may differ by this much
constexpr std::size_t kMostSeen = 65'536;

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void authenticate(const Secret& key, ByteView bytes, std::uint8_t (&mac)[kMac]) {
  unsigned size = sizeof mac;
  if (!HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes.data(), bytes.size(), mac, &size)) std::abort();
}

}  // namespace

Datagrams::Datagrams(const Identity& identity, std::string line) : sender_(identity.host), line_(std::move(line)), key_(identity.cluster_key) {
  RAND_bytes(reinterpret_cast<unsigned char*>(&epoch_), sizeof epoch_);
}

Bytes Datagrams::seal(wire::DatagramT datagram) {
  datagram.sender = sender_;
  datagram.line = line_;
  datagram.epoch = epoch_;
  datagram.time_ms = now_ms();
  RAND_bytes(reinterpret_cast<unsigned char*>(&datagram.nonce), sizeof datagram.nonce);
  if (datagram.reason.size() > 256) datagram.reason.resize(256);
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::Datagram::Pack(builder, &datagram));
  Bytes out(builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize());
  std::uint8_t mac[kMac];
  authenticate(key_, out, mac);
  out.insert(out.end(), mac, mac + kMac);
  return out;
}

Result<wire::DatagramT> Datagrams::open(ByteView bytes) {
  if (bytes.size() <= kMac || bytes.size() > kLargest) return fail(EBADMSG, "a datagram of {} bytes", bytes.size());
  const ByteView body = bytes.first(bytes.size() - kMac);
  std::uint8_t mac[kMac];
  authenticate(key_, body, mac);
  if (CRYPTO_memcmp(mac, bytes.data() + body.size(), kMac) != 0) return fail(EBADMSG, "a datagram from outside the cluster");
  const Secret aligned(body.begin(), body.end());
  flatbuffers::Verifier verifier(aligned.data(), aligned.size());
  if (!wire::VerifyDatagramBuffer(verifier)) return fail(EBADMSG, "a malformed datagram");
  wire::DatagramT datagram;
  wire::GetDatagram(aligned.data())->UnPackTo(&datagram);
  if (datagram.sender.empty() || datagram.sender == sender_) return fail(EALREADY, "our own datagram");
  const std::int64_t now = now_ms();
  if (datagram.time_ms < now - kWindowMs || datagram.time_ms > now + kWindowMs)
    return fail(ESTALE, "{}'s clock differs from ours, or an old datagram is sent again", datagram.sender);
  while (!seen_.empty() && (seen_.begin()->time_ms < now - kWindowMs || seen_.size() >= kMostSeen)) seen_.erase(seen_.begin());
  if (!seen_.insert({datagram.time_ms, datagram.sender, datagram.nonce}).second) return fail(EALREADY, "a datagram sent again");
  return datagram;
}

}  // namespace sockmi::peer
