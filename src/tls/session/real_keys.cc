#include "tls/session/real_keys.h"

#include <algorithm>
#include <array>

#include "tls/session/ssl_data.h"
#include "wire/flatbuffer.h"

namespace sockmi::tls {
namespace {

void move_on(const wire::Tls& tls, CipherContext& writing, CipherContext& reading) {
  writing.sequence().offset = tls.write_sequence() - writing.sequence().count;
  reading.sequence().offset = tls.read_sequence() - reading.sequence().count;
}

Result<> set_tls13_keys(SSL* target, const wire::Tls& tls, const Scope& scope,
                        const Secret& master) {
  CipherContext* writing = Registry::get().current(*scope.inject, !tls.server(), true).context;
  CipherContext* reading = Registry::get().current(*scope.inject, tls.server(), false).context;
  if (!writing || !reading) return fail(ENOKEY, "provider is not in the SSL's path");
  move_on(tls, *writing, *reading);
  attachment(target).known = {
      .random = client_random_of(target), .connection = scope.inject, .client = {}, .server = {}};
  if (!master.empty())
    SSL_SESSION_set1_master_key(SSL_get_session(target), master.data(), master.size());
  return {};
}

Result<> set_tls12_keys(SSL* target, const wire::Tls& tls, const Suite& suite, const Scope& scope,
                        const Secret& master) {
  CipherContext *writing = nullptr, *reading = nullptr;
  for (CipherContext* context : scope.contexts) {
    if (Registry::get().by_key(context->encrypting, context->secret.view(), context) == context)
      (context->encrypting ? writing : reading) = context;
  }
  if (!writing || !reading) return fail(ENOKEY, "provider is not in the SSL's path");
  SslData& kept = attachment(target);
  kept.client_random = wire::secret(tls.client_random());
  kept.server_random = wire::secret(tls.server_random());
  auto [client, server] = tls12_keys(SSL_get_current_cipher(target), suite, master,
                                     kept.client_random, kept.server_random);
  std::array<std::uint8_t, 8> nonce;
  std::ranges::copy(*tls.explicit_nonce(), nonce.begin());
  if (!rekey_tls12(*writing, tls.server() ? server : client, nonce) ||
      !rekey_tls12(*reading, tls.server() ? client : server, nonce))
    return fail(EIO, "cannot set the keys");
  move_on(tls, *writing, *reading);
  kept.known = {.random = client_random_of(target),
                .connection = nullptr,
                .client = std::move(client),
                .server = std::move(server),
                .reading = reading,
                .writing = writing};
  kept.replayed_client_random = kept.known.random;
  kept.replayed_server_random.resize(SSL3_RANDOM_SIZE);
  SSL_get_server_random(target, kept.replayed_server_random.data(), SSL3_RANDOM_SIZE);
  Registry::get().substitute(kept.replayed_client_random, kept.client_random);
  Registry::get().substitute(kept.replayed_server_random, kept.server_random);
  return {};
}

}  // namespace

Result<> set_real_keys(SSL* target, const wire::Tls& tls, const Suite& suite, const Scope& scope,
                       const Secret& master) {
  return tls.version() == TLS1_3_VERSION ? set_tls13_keys(target, tls, scope, master)
                                         : set_tls12_keys(target, tls, suite, scope, master);
}

}  // namespace sockmi::tls
