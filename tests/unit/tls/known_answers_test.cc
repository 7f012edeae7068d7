// Images that were made once and kept: they must load in all later builds, and the loaded
// SSL must do what the original SSL did. This test does not make an image.
#include "golden/known_answer.h"
#include "pair.h"

namespace sockmi::tls::test {
namespace {

// An SSL that is loaded from an image, over a socketpair whose other end belongs to the
// test.
struct Loaded {
  unique_fd fd, wire;
  SslPtr ssl;

  explicit Loaded(const KnownAnswer& a) : ssl(SSL_new(any_context())) {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    fd.reset(fds[0]);
    wire.reset(fds[1]);
    const auto loaded = load(a.image, ssl.get(), {a.server, a.established});
    EXPECT_TRUE(loaded) << to_string(loaded.error());
    EXPECT_TRUE(set_fd(ssl.get(), fd.get()));
  }
  void arrives(ByteView bytes) const {
    ASSERT_EQ(::send(wire.get(), bytes.data(), bytes.size(), 0),
              static_cast<ssize_t>(bytes.size()));
  }
  Bytes left() const {
    Bytes out(1 << 20);
    const ssize_t size = ::recv(wire.get(), out.data(), out.size(), 0);
    out.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    return out;
  }
  std::string read() const {
    std::string out, buffer(20'000, 0);
    for (int n; (n = SSL_read(ssl.get(), buffer.data(), 20'000)) > 0;)
      out.append(buffer, 0, static_cast<std::size_t>(n));
    EXPECT_EQ(SSL_get_error(ssl.get(), -1), SSL_ERROR_WANT_READ);
    ERR_clear_error();
    return out;
  }
};

class KnownAnswers : public testing::TestWithParam<std::filesystem::path> {
 protected:
  const KnownAnswer a_ = read_files(GetParam());
};
class KnownAnswersEstablished : public KnownAnswers {};
class KnownAnswersOfBothEnds : public KnownAnswers {};
class KnownAnswersBeforeHandshake : public KnownAnswers {};

TEST_P(KnownAnswersEstablished, ReadsTheRecordedRecords) {
  Loaded it(a_);
  EXPECT_EQ(SSL_pending(it.ssl.get()), static_cast<int>(a_.pending));
  it.arrives(a_.arrives);
  EXPECT_EQ(it.read(), a_.reads);
}

TEST_P(KnownAnswersEstablished, WritesTheRecordedRecord) {
  Loaded it(a_);
  EXPECT_EQ(write_taken(it.ssl.get()), a_.write_taken);
  ASSERT_EQ(SSL_write(it.ssl.get(), a_.writes.data(), static_cast<int>(a_.writes.size())),
            static_cast<int>(a_.writes.size()));
  Bytes left = it.left();
  ASSERT_GE(left.size(), a_.leaves.size());
  if (!SSL_CIPHER_is_aead(SSL_get_current_cipher(it.ssl.get())))
    left.resize(a_.leaves.size());  // the rest has a random IV
  EXPECT_EQ(left, a_.leaves);
}

TEST_P(KnownAnswersEstablished, GettersReturnTheRecordedAnswers) {
  Loaded it(a_);
  SSL* const ssl = it.ssl.get();
  EXPECT_EQ(SSL_get_version(ssl), a_.version);
  EXPECT_EQ(SSL_get_cipher_name(ssl), a_.suite);
  const unsigned char* alpn = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &alpn, &size);
  EXPECT_EQ(std::string(alpn, alpn + size), a_.alpn);
  EXPECT_STREQ(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name), a_.server_name.c_str());
  if (SSL_version(ssl) == TLS1_2_VERSION) {
    EXPECT_EQ(SSL_get_extms_support(ssl) == 1, a_.extended_master);
  }
  EXPECT_EQ(SSL_SESSION_get_time(SSL_get_session(ssl)), kSessionTime);
  Bytes exporter(32);
  ASSERT_EQ(SSL_export_keying_material(ssl, exporter.data(), 32, kExporterLabel.data(),
                                       kExporterLabel.size(), nullptr, 0, 0),
            1);
  EXPECT_EQ(exporter, a_.exporter);
}

// CBC records have a random part, so only this test shows that what is written can be
// read.
TEST_P(KnownAnswersOfBothEnds, TwoLoadedImagesTalkToEachOther) {
  Loaded it(a_), other(read_files(GetParam().parent_path() / (a_.other_end + ".image")));
  ASSERT_TRUE(set_fd(other.ssl.get(), it.wire.get()));
  for (const std::string& text : {std::string("one"), pattern(100'000)}) {
    Pair::transfer(it.ssl.get(), other.ssl.get(), text);
    Pair::transfer(other.ssl.get(), it.ssl.get(), text);
  }
}

// An SSL takes its certificates from the context when it is created.
[[maybe_unused]] const bool kCertified = (give_certificate(any_context()), true);

TEST_P(KnownAnswersBeforeHandshake, ALoadedImageContinuesTheHandshake) {
  Loaded it(a_);
  if (a_.server) {  // the ClientHello, half of which is in the image, is answered
    it.arrives(a_.arrives);
    EXPECT_EQ(SSL_do_handshake(it.ssl.get()), -1);
    EXPECT_EQ(SSL_get_error(it.ssl.get(), -1), SSL_ERROR_WANT_READ);
    EXPECT_STREQ(SSL_get_servername(it.ssl.get(), TLSEXT_NAMETYPE_host_name),
                 a_.server_name.c_str());
    const Bytes left = it.left();
    ASSERT_GT(left.size(), 6u);
    EXPECT_EQ(left[5], SSL3_MT_SERVER_HELLO);
  } else {
    SslPtr peer(SSL_new(any_context()));
    SSL_set_accept_state(peer.get());
    SSL_set_fd(peer.get(), it.wire.get());
    for (int i = 0; i < 5; ++i)
      SSL_do_handshake(it.ssl.get()), SSL_do_handshake(peer.get());
    ERR_clear_error();
    Pair::transfer(it.ssl.get(), peer.get(), "hello");
  }
}

auto files_that(bool (*fit)(const KnownAnswer&)) {
  auto out = image_files(SOCKMI_SOURCE "/tests/golden/images");
  std::erase_if(out, [&](const auto& file) { return !fit(read_files(file)); });
  return testing::ValuesIn(out);
}
std::string name_of(const testing::TestParamInfo<std::filesystem::path>& info) {
  std::string name =
      info.param.parent_path().filename().string() + "_" + info.param.stem().string();
  std::ranges::replace_if(
      name, [](char c) { return c == '-' || c == '.'; }, '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Images, KnownAnswersEstablished,
                         files_that([](const KnownAnswer& a) { return a.established; }), name_of);
INSTANTIATE_TEST_SUITE_P(Images, KnownAnswersOfBothEnds,
                         files_that([](const KnownAnswer& a) { return !a.other_end.empty(); }),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Images, KnownAnswersBeforeHandshake,
                         files_that([](const KnownAnswer& a) { return !a.established; }), name_of);

}  // namespace
}  // namespace sockmi::tls::test
