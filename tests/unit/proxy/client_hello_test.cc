#include "proxy/client_hello.h"

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "base/openssl_ptr.h"
#include "proxy/server_names.h"

namespace sockmi::proxy {
namespace {

using Context = OpenSslPointer<SSL_CTX, SSL_CTX_free>;
using Ssl = OpenSslPointer<SSL, SSL_free>;

// The ClientHello that libssl sends.
Bytes hello_of_libssl(const char* server_name) {
  const Context context(SSL_CTX_new(TLS_client_method()));
  const Ssl ssl(SSL_new(context.get()));
  if (server_name) SSL_set_tlsext_host_name(ssl.get(), server_name);
  BIO* out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
  SSL_set_connect_state(ssl.get());
  SSL_do_handshake(ssl.get());
  Bytes bytes(BIO_ctrl_pending(out));
  BIO_read(out, bytes.data(), static_cast<int>(bytes.size()));
  return bytes;
}

// The same handshake message in records of at most `most` bytes.
Bytes split(const Bytes& hello, std::size_t most) {
  Bytes out;
  for (std::size_t at = 5; at < hello.size(); at += most) {
    const std::size_t size = std::min(most, hello.size() - at);
    const std::uint8_t head[] = {22, 3, 1, 0, static_cast<std::uint8_t>(size)};
    out.insert(out.end(), std::begin(head), std::end(head));
    out.insert(out.end(), hello.begin() + static_cast<std::ptrdiff_t>(at),
               hello.begin() + static_cast<std::ptrdiff_t>(at + size));
  }
  return out;
}

TEST(ClientHello, ServerNameIsRead) {
  const auto hello = read_client_hello(hello_of_libssl("WWW.example"));

  ASSERT_TRUE(hello) << hello.error().reason;
  ASSERT_TRUE(*hello);
  EXPECT_EQ((*hello)->server_name, "www.example");
}

TEST(ClientHello, ServerNameMayBeMissing) {
  const auto hello = read_client_hello(hello_of_libssl(nullptr));

  ASSERT_TRUE(hello && *hello);
  EXPECT_EQ((*hello)->server_name, "");
}

TEST(ClientHello, EachBeginningNeedsMore) {
  const Bytes bytes = hello_of_libssl("www.example");

  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto hello = read_client_hello(ByteView(bytes).first(size));
    ASSERT_TRUE(hello) << size << ": " << hello.error().reason;
    EXPECT_FALSE(*hello) << size;
  }
}

TEST(ClientHello, SeveralRecordsAreJoined) {
  const Bytes whole = hello_of_libssl("www.example");

  for (const std::size_t most : {1u, 3u, 4u, 100u, 255u}) {
    Bytes bytes = split(whole, most);
    bytes.insert(bytes.end(), {23, 3, 3, 0, 1, 0});  // a record behind it does not matter
    const auto hello = read_client_hello(bytes);
    ASSERT_TRUE(hello && *hello) << most;
    EXPECT_EQ((*hello)->server_name, "www.example");
  }
}

TEST(ClientHello, OtherProtocolsAreRefused) {
  for (const std::string_view text : {"GET / HTTP/1.1\r\n\r\n", "SSH-2.0-x\r\n", "\x16\x05garb"}) {
    const auto hello = read_client_hello(Bytes(text.begin(), text.end()));
    ASSERT_FALSE(hello) << text;
    EXPECT_EQ(hello.error().code, EPROTO);
  }
}

TEST(ClientHello, EndlessHelloIsRefused) {
  Bytes bytes = {22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff};

  EXPECT_FALSE(read_client_hello(bytes));
  bytes = {22, 3, 1, 0x40, 0, 1, 0, 0x40, 0};
  bytes.resize(kMaxClientHelloBytes);
  EXPECT_FALSE(read_client_hello(bytes));
}

TEST(ClientHello, ChangedBytesAreReadSafely) {
  const Bytes good = hello_of_libssl("www.example");
  for (std::size_t i = 0; i < good.size(); ++i)
    for (const std::uint8_t value : {0x00, 0x01, 0x7f, 0xff}) {
      Bytes changed = good;
      changed[i] = value;
      if (const auto hello = read_client_hello(changed); hello && *hello) {
        EXPECT_LT((*hello)->server_name.size(), good.size());
      }
    }
}

TEST(ServerNames, ExactNamesComeBeforeWildcards) {
  ServerNames<int> names;
  EXPECT_TRUE(names.add("*.Example.org", 1));
  EXPECT_TRUE(names.add("www.example.org", 2));
  EXPECT_FALSE(names.add("WWW.example.org", 3));

  EXPECT_EQ(*names.find("WWW.Example.org"), 2);
  EXPECT_EQ(*names.find("mail.example.org"), 1);
  EXPECT_EQ(names.find("a.b.example.org"), nullptr);
  EXPECT_EQ(names.find("example.org"), nullptr);
  EXPECT_EQ(names.find(".example.org"), nullptr);
  EXPECT_EQ(names.find(""), nullptr);
}

}  // namespace
}  // namespace sockmi::proxy
