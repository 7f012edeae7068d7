#include "cluster/tls_contexts.h"

#include <openssl/ssl.h>

namespace sockmi::cluster {
namespace {

int refusal_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

// Verifies like OpenSSL does, and also records the reason of a refusal.
int verify(X509_STORE_CTX* context, void* credentials) {
  const int good = X509_verify_cert(context);
  const auto* ssl = static_cast<const SSL*>(
      X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* words = ssl ? static_cast<std::string*>(SSL_get_ex_data(ssl, refusal_index())) : nullptr;
  if (good != 1 && words) {
    const auto member =
        static_cast<const Credentials*>(credentials)->check(X509_STORE_CTX_get0_cert(context));
    *words = member ? X509_verify_cert_error_string(X509_STORE_CTX_get_error(context))
                    : member.error().reason;
  }
  return good;
}

Result<> configure(SSL_CTX* ctx, const Credentials& credentials) {
  X509_STORE_up_ref(credentials.store());
  SSL_CTX_set_cert_store(ctx, credentials.store());
  if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
      SSL_CTX_use_certificate(ctx, credentials.certificate()) != 1 ||
      SSL_CTX_use_PrivateKey(ctx, credentials.key()) != 1)
    return fail_openssl(EINVAL, "cannot set up TLS for the control channel");
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_cert_verify_callback(ctx, verify, const_cast<Credentials*>(&credentials));
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(ctx, 0);
  // Every member has the authority's certificate. If it were sent, a handshake would need
  // more than one small packet.
  SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN);
  SSL_CTX_set_options(ctx, SSL_OP_CLEANSE_PLAINTEXT);  // images pass through libssl's buffers
  return {};
}

}  // namespace

Contexts::Contexts(std::shared_ptr<const Credentials> credentials)
    : credentials(std::move(credentials)),
      server(boost::asio::ssl::context::tls_server),
      client(boost::asio::ssl::context::tls_client) {}

Result<std::shared_ptr<Contexts>> Contexts::make(std::shared_ptr<const Credentials> credentials) {
  auto out = std::make_shared<Contexts>(std::move(credentials));
  for (auto* context : {&out->server, &out->client})
    TRY(configure(context->native_handle(), *out->credentials));
  return out;
}

void send_refusal(SSL* ssl, std::string* words) {
  SSL_set_ex_data(ssl, refusal_index(), words);
}

}  // namespace sockmi::cluster
