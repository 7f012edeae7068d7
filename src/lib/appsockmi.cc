// Implements libappsockmi, the C API for SSL objects.
#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <span>

#include <sockmi/appsockmi.h>

#include "base/endpoint_state.h"
#include "base/unlocked.h"
#include "lib/daemon_requests.h"
#include "lib/last_error.h"
#include "tls/tls.h"

using namespace sockmi;
using namespace sockmi::lib;

namespace {

// Maximum time to wait for an unfinished handshake or record.
constexpr std::chrono::milliseconds kRecordTimeout{1000};

// Returns the state that the SSL is in. Errors: EAGAIN in the middle of a handshake,
// which is none of the states.
Result<int> state_of(SSL* ssl) {
  const bool server = SSL_is_server(ssl);
  switch (tls::phase(ssl)) {
    case tls::Phase::before_handshake:
      return server ? SOCKMI_SERVER_CONNECTED : SOCKMI_CLIENT_CONNECTED;
    case tls::Phase::established:
      return server ? SOCKMI_SERVER_ESTABLISHED : SOCKMI_CLIENT_ESTABLISHED;
    case tls::Phase::in_handshake: break;
  }
  return fail(EAGAIN, "handshake is not finished");
}

Result<Secret> save(SSL* ssl, int state) {
  if (tls::is_retired(ssl)) return fail(ESHUTDOWN, "SSL was exported");
  TRY_LET(real, state_of(ssl));
  if (state == SOCKMI_BOUND || state == SOCKMI_LISTENING)
    return fail(EINVAL, "invalid state for an SSL: use export_socket()");
  if (state != real) return fail(EINVAL, "SSL is in state {:#x}, not {:#x}", real, state);
  return tls::save(ssl);
}

tls::Kind kind_of(unsigned state) {
  return {.server = (state & (SOCKMI_SERVER_CONNECTED | SOCKMI_SERVER_ESTABLISHED)) != 0,
          .established = (state & (SOCKMI_CLIENT_ESTABLISHED | SOCKMI_SERVER_ESTABLISHED)) != 0};
}

}  // namespace

int sockmi_enable(OSSL_LIB_CTX* libctx) {
  clear_error();
  const auto enabled = tls::enable(libctx);
  return enabled ? 0 : report(enabled.error());
}

int sockmi_set_fd(SSL* ssl, int fd) {
  clear_error();
  const auto set = tls::set_fd(ssl, fd);
  return set ? 0 : report(set.error());
}

size_t sockmi_write_taken(const SSL* ssl) {
  return tls::write_taken(ssl);
}

int sockmi_session_reused(const SSL* ssl) {
  return tls::was_reused(ssl);
}

int sockmi_update_keys(SSL* ssl) {
  clear_error();
  const auto updated = tls::update_keys(ssl);
  return updated ? 0 : report(updated.error());
}

size_t sockmi_unlocked_secrets(void) {
  return unlocked_secret_bytes();
}

int save_ssl(void** pbuf, SSL* ssl, int ssl_state) {
  clear_error();
  const auto image = save(ssl, ssl_state);
  if (!image) return report(image.error());
  *pbuf = secret_alloc(image->size());
  std::memcpy(*pbuf, image->data(), image->size());
  return static_cast<int>(image->size());
}

void sockmi_image_free(void* buf, size_t len) {
  secret_free(buf, len);
}

int load_ssl(const void* buf, size_t len, SSL* ssl, int ssl_state) {
  clear_error();
  const auto state = static_cast<unsigned>(ssl_state);
  if (!std::has_single_bit(state) || !(state & kTlsStates))
    return report({EINVAL, "not the state of an SSL"});
  if (!buf && len > 0) return report({EINVAL, "no buffer"});
  // The image must be aligned; the caller's buffer need not be.
  const Secret copy(static_cast<const std::uint8_t*>(buf),
                    static_cast<const std::uint8_t*>(buf) + len);
  const auto loaded = tls::load(copy, ssl, kind_of(state));
  return loaded ? 0 : report(loaded.error());
}

int sockmi_export_ssl_with(SSL* ssl, int state, int af, const void* to,
                           const sockmi_export_options* options) {
  clear_error();
  const auto known = options ? check_reserved(*options) : Result<>();
  if (!known) return report(known.error());
  const int fd = tls::get_fd(ssl);
  if (fd < 0) {
    return report(tls::is_retired(ssl) ? Error{ESHUTDOWN, "this SSL was exported"}
                                       : Error{EINVAL, "the SSL has no descriptor"});
  }
  sockmi_export_options rest = options ? *options : sockmi_export_options{};
  if (kind_of(static_cast<unsigned>(state)).established) {
    using Milliseconds = std::chrono::milliseconds;
    const auto begun = std::chrono::steady_clock::now();
    const auto quiet =
        tls::quiesce(ssl, rest.timeout > 0 ? std::min(kRecordTimeout, Milliseconds(rest.timeout))
                                           : kRecordTimeout);
    if (!quiet) return report(quiet.error());
    const auto spent =
        std::chrono::duration_cast<Milliseconds>(std::chrono::steady_clock::now() - begun);
    if (rest.timeout > 0)
      rest.timeout = std::max(1, rest.timeout - static_cast<int>(spent.count()));
  }
  const auto image = save(ssl, state);
  if (!image) return report(image.error());
  const auto exported = export_endpoint(fd, static_cast<unsigned>(state), af, to, *image, &rest);
  if (!exported && exported.error().code == EINPROGRESS) tls::doubt(ssl);
  if (!exported) return report(exported.error());
  // The connection has moved, so this returns success in any case. The error text reports
  // keys that are left.
  if (const auto spent = tls::retire(ssl); !spent)
    (void)report({spent.error().code, "keys are left in memory: " + to_string(spent.error())});
  return 0;
}

int export_ssl(SSL* ssl, int state, int af, const void* to) {
  return sockmi_export_ssl_with(ssl, state, af, to, nullptr);
}

int import_ssl(sockmi_import_ssl_req* irqs, unsigned nirqs, int timeout) {
  clear_error();
  const std::span requests(irqs, nirqs);
  for (auto& request : requests) {
    clear(request);
    request.ssl_state = 0;
    request.write_taken = 0;
  }
  std::vector<ImportCriteria> criteria;
  for (const auto& request : requests) {
    if (!request.ssl) return report({EINVAL, "an import request without an SSL"});
    if (const auto known = check_reserved(request); !known) return report(known.error());
    const unsigned states = request.criteria.states ? request.criteria.states : kTlsStates;
    if (states & ~kTlsStates)
      return report({EINVAL, "not the state of an SSL: use import_socket()"});
    criteria.push_back({&request.criteria, states, static_cast<unsigned>(request.preferred_state)});
  }
  const auto accept = [&](ImportedEndpoint arrived) -> Result<> {
    auto& request = requests[arrived.request];
    TRY_LET(payload, copy_payload(arrived.payload));
    const Secret image(arrived.tls.begin(), arrived.tls.end());
    auto loaded = tls::load(image, request.ssl, kind_of(arrived.state));
    if (loaded) {
      loaded = tls::set_fd(request.ssl, arrived.socket.get());
      if (!loaded) (void)tls::retire(request.ssl);  // the connection goes to another importer
    }
    if (!loaded) {
      std::free(payload);
      return loaded;
    }
    request.payload = payload;
    request.payload_len = arrived.payload.size();
    request.write_taken = tls::write_taken(request.ssl);
    request.ssl_state = static_cast<int>(arrived.state);
    request.fd = arrived.socket.release();
    return {};
  };
  const auto imported = import_endpoints(criteria, timeout, accept, [&](std::size_t i) {
    auto& request = requests[i];
    (void)tls::retire(request.ssl);
    give_up(request);
    request.ssl_state = 0;
    request.write_taken = 0;
  });
  return imported ? static_cast<int>(*imported) : report(imported.error());
}
