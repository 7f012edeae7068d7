// A load does a handshake in the application's context. Callbacks of the application that
// it calls receive the connection's own names and choose what they chose in the handshake
// with the peer. No others are called, and an export calls none.
#include "cases.h"
#include "pair.h"

namespace sockmi::tls::test {
namespace {

constexpr std::string_view kHost = "server.test";  // Pair's client requests it

// Counts the calls, with the connection's name and without one.
struct Calls {
  int named = 0, unnamed = 0, hello = 0, hello_unnamed = 0, alpn = 0, certificate = 0, verify = 0,
      info = 0, status = 0, new_session = 0, get_session = 0, remove_session = 0, psk = 0;
  bool operator==(const Calls&) const = default;
} calls;

bool has_name(const SSL* ssl) {
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  return name && name == kHost;
}
int refuse_unknown_names(SSL* ssl, int* alert, void*) {
  if (has_name(ssl)) return ++calls.named, SSL_TLSEXT_ERR_OK;
  ++calls.unnamed;
  *alert = SSL_AD_UNRECOGNIZED_NAME;
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}
int pass_over_the_name(SSL* ssl, int*, void*) {
  ++(has_name(ssl) ? calls.named : calls.unnamed);
  return SSL_TLSEXT_ERR_NOACK;
}
int choose_host(SSL* ssl, int*, void* host) {
  if (!has_name(ssl)) return ++calls.unnamed, SSL_TLSEXT_ERR_OK;
  ++calls.named;
  SSL_set_SSL_CTX(ssl, static_cast<SSL_CTX*>(host));
  return SSL_TLSEXT_ERR_OK;
}
int read_hello(SSL* ssl, int* alert, void*) {
  const unsigned char* extension;
  std::size_t size;
  ++calls.hello;
  const bool named =
      SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &extension, &size) == 1 &&
      std::string_view(reinterpret_cast<const char*>(extension), size).ends_with(kHost);
  const bool has_alpn =
      SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &extension,
                                &size) == 1;
  if (named && has_alpn) return SSL_CLIENT_HELLO_SUCCESS;
  ++calls.hello_unnamed;
  *alert = SSL_AD_UNRECOGNIZED_NAME;
  return SSL_CLIENT_HELLO_ERROR;
}

class Callbacks : public testing::TestWithParam<Case> {
 protected:
  Callbacks() : host_(make_ctx(GetParam(), with_provider())), pair_(GetParam()) {
    calls = {};
    SSL_CTX_set_session_id_context(host_.get(), reinterpret_cast<const unsigned char*>("host"), 4);
    if (GetParam().server) renew();
  }
  SSL_CTX* ctx() const { return pair_.mover_ctx.get(); }
  // The mover has to be created again after its context was set up, because an SSL copies
  // the settings.
  void renew() {
    pair_.mover = pair_.fresh();
    ASSERT_TRUE(set_fd(pair_.mover.get(), pair_.mover_fd.get()));
    if (GetParam().server) return;
    SSL_set_alpn_protos(pair_.mover.get(), reinterpret_cast<const unsigned char*>("\x02h2"), 3);
    SSL_set_tlsext_host_name(pair_.mover.get(), kHost.data());
  }
  // Moves the mover. Returns which callbacks were called.
  Calls calls_of_a_move() {
    pair_.handshake();
    pair_.talk("before");
    calls = {};
    pair_.hop();
    const Calls seen = calls;
    pair_.talk("after");
    EXPECT_STREQ(SSL_get_servername(pair_.mover.get(), TLSEXT_NAMETYPE_host_name), kHost.data());
    return seen;
  }
  CtxPtr host_;
  Pair pair_;
};
const Case kServers[] = {case_of("Tls13Aes128Server"), case_of("Tls13Aes256Server"),
                         case_of("Tls12Aes128Server"), case_of("Tls12CbcSha1Server")};
class ServerCallbacks : public Callbacks {};
INSTANTIATE_TEST_SUITE_P(Suites, ServerCallbacks, testing::ValuesIn(kServers), kName);
const Case kClients[] = {case_of("Tls13Aes128Client"), case_of("Tls12Aes256Client")};
class ClientCallbacks : public Callbacks {};
INSTANTIATE_TEST_SUITE_P(Suites, ClientCallbacks, testing::ValuesIn(kClients), kName);

TEST_P(ServerCallbacks, AStrictServerNameCallbackSeesTheNameOnce) {
  SSL_CTX_set_tlsext_servername_callback(ctx(), refuse_unknown_names);
  const Calls seen = calls_of_a_move();
  EXPECT_EQ(seen.named, 1);
  EXPECT_EQ(seen.unnamed, 0);
}

TEST_P(ServerCallbacks, AServerNameCallbackThatIgnoresTheNameSeesIt) {
  SSL_CTX_set_tlsext_servername_callback(ctx(), pass_over_the_name);
  const Calls seen = calls_of_a_move();
  EXPECT_EQ(seen.named, 1);
  EXPECT_EQ(seen.unnamed, 0);
}

TEST_P(ServerCallbacks, AClientHelloCallbackSeesTheServerName) {
  SSL_CTX_set_client_hello_cb(ctx(), read_hello, nullptr);
  const Calls seen = calls_of_a_move();
  EXPECT_EQ(seen.hello, 1);
  EXPECT_EQ(seen.hello_unnamed, 0);
}

TEST_P(ServerCallbacks, AnAsynchronousClientHelloCallbackIsRefused) {
  pair_.handshake();
  const auto image = save(pair_.mover.get());
  SSL_CTX_set_client_hello_cb(
      ctx(), +[](SSL*, int*, void*) { return SSL_CLIENT_HELLO_RETRY; }, nullptr);
  SslPtr ssl = pair_.fresh();
  const auto loaded = load(*image, ssl.get(), {true, true});
  ASSERT_FALSE(loaded);
  EXPECT_NE(to_string(loaded.error()).find("client_hello callback"), std::string::npos)
      << to_string(loaded.error());
  EXPECT_TRUE(SSL_in_before(ssl.get()));
}

TEST_P(ServerCallbacks, TheServerNameChoosesTheSameVirtualHost) {
  SSL_CTX_set_tlsext_servername_callback(ctx(), choose_host);
  SSL_CTX_set_tlsext_servername_arg(ctx(), host_.get());
  SSL_CTX_set_session_id_context(ctx(), reinterpret_cast<const unsigned char*>("default"), 7);
  renew();
  const long cached = SSL_CTX_sess_number(ctx());
  for (int hop = 0; hop < 2; ++hop) {
    const Calls seen = calls_of_a_move();
    EXPECT_EQ(seen.named, 1);
    EXPECT_EQ(seen.unnamed, 0);
    EXPECT_EQ(SSL_get_SSL_CTX(pair_.mover.get()), host_.get());
    EXPECT_EQ(SSL_get_certificate(pair_.mover.get()), SSL_CTX_get0_certificate(host_.get()));
  }
  EXPECT_EQ(SSL_CTX_sess_number(ctx()), cached)
      << "the replay's session stays in the first context's cache";
}

TEST_P(ServerCallbacks, AFailedLoadRestoresTheSslsContext) {
  pair_.handshake();
  const auto image = save(pair_.mover.get());
  SSL_CTX_set_tlsext_servername_callback(ctx(), choose_host);
  SSL_CTX_set_tlsext_servername_arg(ctx(), host_.get());
  SSL_CTX_set_alpn_select_cb(ctx(), nullptr, nullptr);
  SSL_CTX_set_alpn_select_cb(host_.get(), nullptr, nullptr);
  SslPtr ssl = pair_.fresh();
  EXPECT_EQ(load(*image, ssl.get(), {true, true}).error().code, ENOTSUP);
  EXPECT_EQ(SSL_get_SSL_CTX(ssl.get()), ctx());
}

// Sets all other callbacks of a context. `asked` counts those that are documented as
// called.
void set_all_others(SSL_CTX* ctx) {
  SSL_CTX_set_cert_cb(
      ctx, +[](SSL*, void*) { return ++calls.certificate, 1; }, nullptr);
  SSL_CTX_set_cert_verify_callback(
      ctx, +[](X509_STORE_CTX*, void*) { return ++calls.verify, 1; }, nullptr);
  SSL_CTX_set_info_callback(
      ctx, +[](const SSL*, int, int) { ++calls.info; });
  SSL_CTX_set_tlsext_status_cb(
      ctx, +[](SSL* ssl, void*) {
        ++calls.status;
        return SSL_is_server(ssl) ? SSL_TLSEXT_ERR_NOACK : 1;
      });
  SSL_CTX_sess_set_new_cb(
      ctx, +[](SSL*, SSL_SESSION*) { return ++calls.new_session, 0; });
  SSL_CTX_sess_set_get_cb(
      ctx, +[](SSL*, const unsigned char*, int, int*) -> SSL_SESSION* {
        return ++calls.get_session, nullptr;
      });
  SSL_CTX_set_psk_find_session_callback(
      ctx, +[](SSL*, const unsigned char*, std::size_t, SSL_SESSION** out) {
        return ++calls.psk, *out = nullptr, 1;
      });
  SSL_CTX_set_psk_use_session_callback(
      ctx, +[](SSL*, const EVP_MD*, const unsigned char**, std::size_t*, SSL_SESSION** out) {
        return ++calls.psk, *out = nullptr, 1;
      });
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_BOTH);
}

TEST_P(ServerCallbacks, NoOtherCallbackIsCalled) {
  set_all_others(ctx());
  renew();
  EXPECT_EQ(calls_of_a_move(), Calls{});
}

// A cache reports each session that leaves it to the application: the session of the
// handshake replay is not put there.
TEST_P(ServerCallbacks, NoSessionIsRemovedFromTheCache) {
  SSL_CTX_sess_set_remove_cb(
      ctx(), +[](SSL_CTX*, SSL_SESSION*) { ++calls.remove_session; });
  renew();
  pair_.handshake();
  const auto image = save(pair_.mover.get());
  calls = {};
  SslPtr ssl = pair_.fresh();
  ASSERT_TRUE(load(*image, ssl.get(), {true, true}));
  EXPECT_EQ(calls, Calls{});
}

TEST_P(ServerCallbacks, ClientVerificationNeedsNoSessionIdContext) {
  SSL_CTX_set_verify(
      ctx(), SSL_VERIFY_PEER, +[](int, X509_STORE_CTX*) { return 1; });
  renew();
  (void)calls_of_a_move();
  unsigned size = 1;
  SSL_SESSION_get0_id_context(SSL_get_session(pair_.mover.get()), &size);
  EXPECT_EQ(size, 0u);
}

TEST_P(ClientCallbacks, NoCallbackIsCalled) {
  set_all_others(ctx());
  SSL_CTX_sess_set_remove_cb(
      ctx(), +[](SSL_CTX*, SSL_SESSION*) { ++calls.remove_session; });
  renew();
  pair_.handshake();
  pair_.talk("before");
  const auto image = save(pair_.mover.get());
  calls = {};
  SslPtr ssl = pair_.fresh();
  SSL_set_tlsext_status_type(ssl.get(), TLSEXT_STATUSTYPE_ocsp);
  ASSERT_TRUE(load(*image, ssl.get(), {false, true}));
  EXPECT_EQ(calls, Calls{});
  EXPECT_EQ(SSL_get_tlsext_status_type(ssl.get()), TLSEXT_STATUSTYPE_ocsp);
}

TEST_P(ClientCallbacks, TheTicketStaysInTheCache) {
  SSL_CTX_set_session_cache_mode(ctx(), SSL_SESS_CACHE_CLIENT);
  renew();
  pair_.handshake();
  pair_.talk("before");
  const long cached = SSL_CTX_sess_number(ctx());
  ASSERT_GT(cached, 0);
  const auto image = save(pair_.mover.get());
  SslPtr ssl = pair_.fresh();
  ASSERT_TRUE(load(*image, ssl.get(), {false, true}));
  EXPECT_EQ(SSL_CTX_sess_number(ctx()), cached);
}

TEST_P(ClientCallbacks, AServerNameThatTheConnectionLacksIsNotReported) {
  SSL_set_tlsext_host_name(pair_.mover.get(), static_cast<const char*>(nullptr));
  pair_.handshake();
  const auto image = save(pair_.mover.get());
  SslPtr ssl = pair_.fresh();
  SSL_set_tlsext_host_name(ssl.get(), "other.test");
  ASSERT_TRUE(load(*image, ssl.get(), {false, true}));
  EXPECT_EQ(SSL_get_servername(ssl.get(), TLSEXT_NAMETYPE_host_name), nullptr);
}

}  // namespace
}  // namespace sockmi::tls::test
