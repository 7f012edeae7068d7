// Layout: "SOCKMI" kind(2) version(2) length(4) SHA-256(32) body. Sizes are in bytes, and
// numbers are big-endian. The digest covers everything except itself.
#include "wire/envelope.h"

#include <algorithm>
#include <cstring>

#include <openssl/evp.h>

namespace sockmi::wire {
namespace {

constexpr std::size_t kHead = 14, kDigest = 32;

void put(Secret& out, std::uint32_t value, unsigned bytes) {
  while (bytes-- > 0)
    out.push_back(static_cast<std::uint8_t>(value >> (8 * bytes)));
}

Secret make_head(std::uint16_t kind, std::uint16_t version, std::size_t length) {
  Secret head{'S', 'O', 'C', 'K', 'M', 'I'};
  put(head, kind, 2);
  put(head, version, 2);
  put(head, static_cast<std::uint32_t>(length), 4);
  return head;
}

Secret digest(ByteView head, ByteView body) {
  Secret all(head.begin(), head.end());
  all.insert(all.end(), body.begin(), body.end());
  Secret out(kDigest);
  if (!EVP_Digest(all.data(), all.size(), out.data(), nullptr, EVP_sha256(), nullptr)) std::abort();
  return out;
}

}  // namespace

Secret seal(std::uint16_t kind, std::uint16_t version, ByteView body) {
  Secret out = make_head(kind, version, body.size());
  const Secret sum = digest(out, body);
  out.insert(out.end(), sum.begin(), sum.end());
  out.insert(out.end(), body.begin(), body.end());
  return out;
}

Result<Secret> unseal(std::uint16_t kind, std::uint16_t version, ByteView sealed) {
  if (sealed.size() < kHead + kDigest)
    return fail(EBADMSG, "invalid image of {} bytes", sealed.size());
  const ByteView head = sealed.first(kHead), sum = sealed.subspan(kHead, kDigest),
                 body = sealed.subspan(kHead + kDigest);
  if (!std::ranges::equal(digest(head, body), sum))
    return fail(EBADMSG, "invalid or damaged image");
  const Secret expected = make_head(kind, version, body.size());
  if (std::ranges::equal(head, expected)) return Secret(body.begin(), body.end());
  if (std::ranges::equal(head.first(8), ByteView(expected).first(8)))
    return fail(ENOTSUP, "unsupported image of another version");
  return fail(EBADMSG, "invalid image: of another kind");
}

}  // namespace sockmi::wire
