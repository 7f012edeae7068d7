#include "cluster/datagram.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>

#include "base/log.h"

namespace sockmi::cluster {
namespace {

constexpr std::size_t kMac = 32, kHead = 6, kMaxMacs = 2;
constexpr std::uint8_t kVersion = 2;
constexpr std::int64_t kWindowMs = 30'000;      // hosts' clocks may differ by this much
constexpr std::int64_t kRemarkableMs = 10'000;  // a difference of this much is logged as a warning
// Larger differences of time are cut down to this one, so that the subtraction cannot
// overflow.
constexpr std::int64_t kFar = 1'000'000'000'000;
constexpr std::size_t kMaxSeen = 131'072;  // per sender, within the window
constexpr std::size_t kMaxHosts = 4096;
// How long a warning about a host is kept after its last datagram.
constexpr std::chrono::minutes kRemembered{1};
constexpr std::size_t kMaxNameSize = 255;
// Prefix of what is signed: a signature that this key makes for any other purpose is not
// valid for a datagram.
constexpr std::string_view kPurpose = "sockmi datagram";

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

using Mac = std::array<std::uint8_t, kMac>;

Mac authenticate(const Secret& key, ByteView bytes) {
  Mac mac{};
  unsigned size = kMac;
  if (!HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes.data(), bytes.size(),
            mac.data(), &size))
    std::abort();
  return mac;
}

Bytes to_sign(ByteView body) {
  Bytes out(kPurpose.begin(), kPurpose.end());
  out.push_back(0);
  out.insert(out.end(), body.begin(), body.end());
  return out;
}

using DigestContext = OpenSslPointer<EVP_MD_CTX, EVP_MD_CTX_free>;
const EVP_MD* digest_for(EVP_PKEY* key) {
  return EVP_PKEY_is_a(key, "EC") || EVP_PKEY_is_a(key, "RSA") ? EVP_sha256() : nullptr;
}

Bytes sign(EVP_PKEY* key, ByteView body) {
  const DigestContext context(EVP_MD_CTX_new());
  const Bytes text = to_sign(body);
  Bytes out(static_cast<std::size_t>(EVP_PKEY_get_size(key)));
  std::size_t size = out.size();
  if (!context || EVP_DigestSignInit(context.get(), nullptr, digest_for(key), nullptr, key) != 1 ||
      EVP_DigestSign(context.get(), out.data(), &size, text.data(), text.size()) != 1)
    std::abort();  // our own key, which was valid when it was read
  out.resize(size);
  return out;
}

bool is_signed(EVP_PKEY* key, ByteView body, ByteView signature) {
  const DigestContext context(EVP_MD_CTX_new());
  const Bytes text = to_sign(body);
  const bool good =
      context && EVP_DigestVerifyInit(context.get(), nullptr, digest_for(key), nullptr, key) == 1 &&
      EVP_DigestVerify(context.get(), signature.data(), signature.size(), text.data(),
                       text.size()) == 1;
  ERR_clear_error();
  return good;
}

struct Parts {
  ByteView body, certificate, signature, authenticated, macs;
};

Result<Parts> split(ByteView bytes) {
  const auto number = [&](std::size_t at) {
    return static_cast<std::size_t>(bytes[at]) << 8 | bytes[at + 1];
  };
  if (bytes.size() < kHead || bytes.size() > Datagrams::kLargest || bytes[0] != kVersion)
    return fail(EBADMSG, "invalid datagram of {} bytes: not of this version", bytes.size());
  const std::size_t body = number(1), certificate = number(3), signature = bytes[5],
                    whole = kHead + body + certificate + signature;
  if (whole >= bytes.size() || (bytes.size() - whole) % kMac != 0 ||
      bytes.size() - whole > kMaxMacs * kMac)
    return fail(EBADMSG, "invalid datagram: wrong sizes");
  return Parts{bytes.subspan(kHead, body), bytes.subspan(kHead + body, certificate),
               bytes.subspan(whole - signature, signature), bytes.first(whole),
               bytes.subspan(whole)};
}

bool is_of_cluster(const Credentials& credentials, const Parts& parts) {
  for (const Secret& key : credentials.cluster_keys()) {
    const Mac mac = authenticate(key, parts.authenticated);
    for (std::size_t at = 0; at < parts.macs.size(); at += kMac)
      if (CRYPTO_memcmp(mac.data(), parts.macs.data() + at, kMac) == 0) return true;
  }
  return false;
}

// In every version, a datagram ends with HMACs by cluster keys over everything before
// them (with exactly one HMAC in version 1). So a datagram of an unknown version can
// still be recognized as one of the cluster.
bool is_of_another_version(const Credentials& credentials, ByteView bytes) {
  for (std::size_t macs = kMac; macs <= kMaxMacs * kMac && macs < bytes.size(); macs += kMac) {
    if (is_of_cluster(credentials,
                      {{}, {}, {}, bytes.first(bytes.size() - macs), bytes.last(macs)}))
      return true;
  }
  return false;
}

std::string describe(const std::string& host, std::chrono::seconds ahead) {
  return fmt::format("the clock of {} is {} s {} ours", host, std::abs(ahead.count()),
                     ahead.count() > 0 ? "ahead of" : "behind");
}

std::string other_version(const IpAddress& source) {
  return fmt::format(
      "the daemon at {} is of a version whose datagrams this one ({}) does not read: nothing moves "
      "between the two",
      to_string(source), kVersion);
}

}  // namespace

Datagrams::Datagrams(const Identity& identity, std::string control_address, RateBySource limit)
    : identity_(identity),
      control_address_(std::move(control_address)),
      rate_(std::move(limit)) {
  while (epoch_ == 0)
    RAND_bytes(reinterpret_cast<unsigned char*>(&epoch_), sizeof epoch_);
}

Bytes Datagrams::seal(wire::DatagramT datagram) {
  datagram.sender = identity_.host;
  datagram.control_address = control_address_;
  datagram.epoch = epoch_;
  datagram.time_ms = now_ms();
  RAND_bytes(reinterpret_cast<unsigned char*>(&datagram.nonce), sizeof datagram.nonce);
  if (datagram.reason.size() > 256) datagram.reason.resize(256);
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::Datagram::Pack(builder, &datagram));
  const ByteView body(builder.GetBufferPointer(), builder.GetSize());
  const auto credentials = identity_.now();
  const Bytes& certificate = credentials->certificate_der();
  const Bytes signature = sign(credentials->key(), body);
  Bytes out{kVersion};
  for (const std::size_t size : {body.size(), certificate.size()})
    out.insert(out.end(), {static_cast<std::uint8_t>(size >> 8), static_cast<std::uint8_t>(size)});
  out.push_back(static_cast<std::uint8_t>(signature.size()));
  for (const ByteView part : {body, ByteView(certificate), ByteView(signature)})
    out.insert(out.end(), part.begin(), part.end());
  const Bytes authenticated = out;
  for (const Secret& key : credentials->cluster_keys()) {
    const Mac mac = authenticate(key, authenticated);
    out.insert(out.end(), mac.begin(), mac.end());
  }
  return out;
}

Result<const Datagrams::Known*> Datagrams::whose(ByteView der) {
  const auto credentials = identity_.now();
  if (known_by_ != credentials) known_.clear();  // valid certificates may have been revoked since
  known_by_ = credentials;
  std::array<std::uint8_t, 32> fingerprint;
  SHA256(der.data(), der.size(), fingerprint.data());
  if (const auto it = known_.find(fingerprint); it != known_.end()) {
    const auto now = std::chrono::system_clock::now();
    if (now >= it->second.member.not_before && now <= it->second.member.not_after)
      return &it->second;
    known_.erase(it);  // check() returns the reason
  }
  const unsigned char* at = der.data();
  const Certificate certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  ERR_clear_error();
  if (!certificate || at != der.data() + der.size())
    return fail(EBADMSG, "invalid datagram: cannot read its certificate");
  TRY_LET(member, credentials->check(certificate.get()));
  Key key(X509_get_pubkey(certificate.get()));
  if (!key) return fail_openssl(EBADMSG, "cannot read the key of host " + member.host);
  if (known_.size() >= kMaxHosts) known_.clear();
  return &known_.insert_or_assign(fingerprint, Known{std::move(member), std::move(key)})
              .first->second;
}

Result<> Datagrams::check_time(const std::string& sender, std::int64_t time_ms, std::int64_t now) {
  const std::int64_t ahead = std::clamp(time_ms, now - kFar, now + kFar) - now;
  if (std::abs(ahead) <= kRemarkableMs) {
    if (skews_.erase(sender)) log::info("clock_agrees", {{"host", sender}});
    return {};
  }
  if (skews_.contains(sender) || skews_.size() < kMaxHosts) {
    const auto [it, first] = skews_.try_emplace(sender);
    it->second = {std::chrono::seconds(ahead / 1000), std::chrono::steady_clock::now()};
    if (first) {
      log::warn("clock_differs",
                {{"host", sender}, {"warning", describe(sender, it->second.ahead)}});
    }
  }
  if (std::abs(ahead) <= kWindowMs) return {};
  return fail(ESTALE, "{}, or an old datagram is sent again",
              describe(sender, std::chrono::seconds(ahead / 1000)));
}

std::vector<std::string> Datagrams::warnings() const {
  std::vector<std::string> out;
  for (const auto& [source, heard] : other_versions_) {
    if (std::chrono::steady_clock::now() - heard < kRemembered)
      out.push_back(other_version(source));
  }
  for (const auto& [host, skew] : skews_) {
    if (std::chrono::steady_clock::now() - skew.heard > kRemembered) continue;
    out.push_back(describe(host, skew.ahead) +
                  (std::abs(skew.ahead.count()) * 1000 >= kWindowMs
                       ? ": what it says is refused, and nothing moves between the two"
                       : ""));
  }
  return out;
}

Result<> Datagrams::check_new(const std::string& sender, std::int64_t time_ms, std::uint64_t nonce,
                              std::int64_t now) {
  // seen_ has at most one entry per issued certificate: the sender has been
  // authenticated.
  Seen& seen = seen_[sender];
  while (!seen.empty() && seen.begin()->first < now - kWindowMs)
    seen.erase(seen.begin());
  // If an entry were removed within the window, its datagram could be replayed.
  if (seen.size() >= kMaxSeen) return fail(EBUSY, "too many datagrams from {}", sender);
  if (!seen.insert({time_ms, nonce}).second) return fail(EALREADY, "repeated datagram");
  return {};
}

std::unexpected<Error> Datagrams::refuse_version(ByteView bytes, const IpAddress& source) {
  if (!is_of_another_version(*identity_.now(), bytes))
    return fail(EBADMSG, "invalid datagram of {} bytes: not of this version", bytes.size());
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(other_versions_, [&](const auto& each) { return now - each.second > kRemembered; });
  const auto it = other_versions_.find(source);
  if (it == other_versions_.end() && other_versions_.size() < kMaxHosts) {
    other_versions_[source] = now;
    log::warn("version_differs", {{"address", source}, {"warning", other_version(source)}});
  } else if (it != other_versions_.end()) {
    it->second = now;
  }
  return fail(EPROTONOSUPPORT, "{}", other_version(source));
}

Result<wire::DatagramT> Datagrams::open(ByteView bytes, const IpAddress& source) {
  auto parted = split(bytes);
  if (!parted) {
    return bytes.empty() || bytes[0] == kVersion ? std::unexpected(parted.error())
                                                 : refuse_version(bytes, source);
  }
  const Parts& parts = *parted;
  if (!is_of_cluster(*identity_.now(), parts))
    return fail(EBADMSG, "datagram from outside the cluster");
  if (std::ranges::equal(parts.certificate, identity_.now()->certificate_der()))
    return fail(EALREADY, "datagram of this host itself");
  if (!rate_.take(source)) return fail(EBUSY, "too many datagrams from this address");
  TRY_LET(known, whose(parts.certificate));
  if (!is_signed(known->key.get(), parts.body, parts.signature))
    return fail(EBADMSG, "invalid datagram: signature of another key");
  const Secret aligned(parts.body.begin(), parts.body.end());
  flatbuffers::Verifier verifier(aligned.data(), aligned.size());
  if (!wire::VerifyDatagramBuffer(verifier)) return fail(EBADMSG, "malformed datagram");
  wire::DatagramT datagram;
  wire::GetDatagram(aligned.data())->UnPackTo(&datagram);
  const Member& member = known->member;
  if (datagram.sender != member.host)
    return fail(EBADMSG, "invalid datagram: {} uses another host's name", member.host);
  if (datagram.sender == identity_.host) return fail(EALREADY, "datagram of this host itself");
  if (datagram.service.size() > kMaxNameSize || datagram.owner.size() > kMaxNameSize ||
      datagram.reason.size() > 256)
    return fail(EBADMSG, "invalid datagram: a name is too long");
  TRY_LET(control_address, SocketAddress::parse(datagram.control_address));
  if (!member.has(control_address.ip)) {
    return fail(EACCES, "host {} claims the address {}, which its certificate does not contain",
                member.host, to_string(control_address.ip));
  }
  if (const auto other = IpAddress::parse(datagram.other_address); !other || !member.has(*other))
    datagram.other_address.clear();
  const std::int64_t now = now_ms();
  TRY(check_time(datagram.sender, datagram.time_ms, now));
  if (!datagram.to.empty() && datagram.to != identity_.host)
    return fail(EALREADY, "datagram for another host, {}", datagram.to);
  if (datagram.kind == wire::Kind::Confirm && datagram.to_epoch != epoch_)
    return fail(EALREADY, "datagram from before this daemon's start");
  TRY(check_new(datagram.sender, datagram.time_ms, datagram.nonce, now));
  std::ranges::replace_if(
      datagram.reason, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; },
      ' ');
  return datagram;
}

}  // namespace sockmi::cluster
