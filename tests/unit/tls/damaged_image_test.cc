// Damaged images, in two ways: damaged in transit, which the envelope's digest detects;
// and with a correct digest, which only a faulty or hostile writer makes, for the checks
// behind the digest. The sanitizers watch.
#include <set>

#include "golden/known_answer.h"
#include "pair.h"
#include "tls/provider/secret_registry.h"
#include "wire/envelope.h"

namespace sockmi::tls::test {
namespace {

constexpr std::size_t kEnvelope = 46;
// Odd, so that each bit of a byte has its turn, in another byte. With 1, minutes;
// fuzz_tls_image tests more closely.
constexpr std::size_t kStride = 11;

class DamagedImage : public testing::TestWithParam<const char*> {
 protected:
  DamagedImage() {
    give_certificate(any_context());
    renew();
  }
  void renew() { target_.reset(SSL_new(any_context())); }
  Result<> try_load(ByteView image) {
    return load(image, target_.get(), {a_.server, a_.established});
  }
  // A handshake of the target shows that a refused image has left nothing behind.
  void expect_fit() {
    SslPtr peer(SSL_new(any_context()));
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    unique_fd ours(fds[0]), theirs(fds[1]);
    ASSERT_TRUE(set_fd(target_.get(), ours.get()));
    SSL_set_fd(peer.get(), theirs.get());
    SSL* const server = a_.server ? target_.get() : peer.get();
    SSL* const client = a_.server ? peer.get() : target_.get();
    SSL_set_accept_state(server);
    SSL_set_connect_state(client);
    for (int i = 0; i < 10; ++i)
      SSL_do_handshake(client), SSL_do_handshake(server);
    ERR_clear_error();
    EXPECT_FALSE(SSL_session_reused(client));
    EXPECT_EQ(SSL_get_servername(client, TLSEXT_NAMETYPE_host_name),
              nullptr);  // the image does not contain it
    Pair::transfer(client, server, "as if nothing had been");
    Pair::transfer(server, client, "as if nothing had been");
  }
  const KnownAnswer a_ =
      read_files(SOCKMI_SOURCE "/tests/golden/images/1.0/" + std::string(GetParam()) + ".image");
  SslPtr target_;
};

TEST_P(DamagedImage, EveryTruncationIsRefused) {
  for (std::size_t size = 0; size < a_.image.size(); ++size)
    ASSERT_EQ(try_load(ByteView(a_.image).first(size)).error().code, EBADMSG) << size;
  expect_fit();
}

TEST_P(DamagedImage, EveryFlippedBitIsRefused) {
  Bytes image = a_.image;
  for (std::size_t bit = 0; bit < 8 * image.size(); ++bit) {
    image[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    ASSERT_EQ(try_load(image).error().code, EBADMSG) << bit;
    image[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
  }
  expect_fit();
}

// What is loaded may be nonsense, but it must be an SSL that can be used and freed.
TEST_P(DamagedImage, DamageUnderAValidDigestIsLoadedOrRefused) {
  const auto contexts = Registry::get().entries();
  const ByteView body = ByteView(a_.image).subspan(kEnvelope);
  std::size_t loaded = 0, refused = 0;
  std::set<std::string> reasons;  // each reason for a refusal has its own cleanup
  const auto attempt = [&](ByteView bytes, std::size_t at) {
    SCOPED_TRACE(at);
    const auto result = try_load(wire::seal(wire::kTlsKind, wire::kTlsVersion, bytes));
    if (!result) {
      ++refused;
      ASSERT_TRUE(SSL_in_before(target_.get())) << to_string(result.error());
      if (reasons.insert(result.error().reason).second) {
        expect_fit();
        renew();
      }
      return;
    }
    ++loaded;
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    unique_fd ours(fds[0]), theirs(fds[1]);
    ASSERT_TRUE(set_fd(target_.get(), ours.get()));
    ASSERT_EQ(::send(theirs.get(), a_.arrives.data(), a_.arrives.size(), 0),
              static_cast<ssize_t>(a_.arrives.size()));
    char text[100];
    SSL_read(target_.get(), text, sizeof text);
    SSL_write(target_.get(), text, 10);
    ERR_clear_error();
    renew();
  };
  for (std::size_t size = 0; size < body.size(); ++size)
    attempt(body.first(size), size);
  Bytes bytes(body.begin(), body.end());
  for (std::size_t bit = 0; bit < 8 * bytes.size(); bit += kStride) {
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    attempt(bytes, bit);
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
  }
  EXPECT_GT(loaded, 0u);
  EXPECT_GT(refused, 0u);
  target_.reset();
  EXPECT_EQ(Registry::get().entries(), contexts);
}

INSTANTIATE_TEST_SUITE_P(Images, DamagedImage,
                         testing::Values("tls13-aes128-gcm-server", "tls13-busy",
                                         "tls12-chacha20-client", "tls12-cbc-busy",
                                         "before-handshake-server"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace sockmi::tls::test
