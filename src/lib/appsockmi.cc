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
#include "lib/export_batches.h"
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
    case tls::Phase::BeforeHandshake:
      return server ? SOCKMI_SERVER_CONNECTED : SOCKMI_CLIENT_CONNECTED;
    case tls::Phase::Established:
      return server ? SOCKMI_SERVER_ESTABLISHED : SOCKMI_CLIENT_ESTABLISHED;
    case tls::Phase::InHandshake: break;
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

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

// Saves the SSL when it can be saved, for which it waits until `until` at most.
Result<ExportItem> prepare(SSL* ssl, int state, ByteView payload, Clock::time_point until) {
  const int fd = tls::get_fd(ssl);
  if (fd < 0) {
    return tls::is_retired(ssl) ? fail(ESHUTDOWN, "this SSL was exported")
                                : fail(EINVAL, "the SSL has no descriptor");
  }
  if (kind_of(static_cast<unsigned>(state)).established) {
    const auto left = std::chrono::ceil<Milliseconds>(until - Clock::now());
    TRY(tls::quiesce(ssl, std::clamp(left, Milliseconds(1), kRecordTimeout)));
  }
  TRY_LET(image, save(ssl, state));
  return ExportItem{fd, static_cast<unsigned>(state), std::move(image), payload};
}

// Returns "" or the reason why keys are left in memory. The connection has moved, so this
// is no error.
std::string end_exported(SSL* ssl) {
  const auto spent = tls::retire(ssl);
  return spent ? "" : "keys are left in memory: " + to_string(spent.error());
}

}  // namespace

int sockmi_export_ssl_with(SSL* ssl, int state, int af, const void* to,
                           const sockmi_export_options* options) {
  sockmi_export_options chosen = options ? *options : sockmi_export_options{};
  sockmi_export_ssl_req request{};
  request.ssl = ssl;
  request.fd = -1;
  request.state = state;
  request.payload = chosen.payload;
  request.payload_len = chosen.payload_len;
  return sockmi_export_ssls(&request, 1, af, to, &chosen) == 1 ? 0 : -1;
}

int sockmi_export_ssls(sockmi_export_ssl_req* reqs, unsigned nreqs, int af, const void* to,
                       const sockmi_export_options* options) {
  clear_error();
  sockmi_export_options chosen = options ? *options : sockmi_export_options{};
  const std::span requests(reqs, nreqs);
  for (sockmi_export_ssl_req& request : requests)
    request.error = ECANCELED;
  if (const auto known = check_options(chosen, af, to); !known) return report(known.error());
  ExportCall call;
  std::vector<int> states;
  for (const sockmi_export_ssl_req& request : requests) {
    if (const auto known = check_reserved(request); !known) return report(known.error());
    if (!request.ssl && (request.state & ~kSocketStates))
      return report({EINVAL, "a TLS state without an SSL"});
    call.groups.push_back(request.group);
    states.push_back(request.state);
  }
  if (const auto known = check_groups(call.groups, states); !known) return report(known.error());
  const auto until =
      chosen.timeout > 0 ? Clock::now() + Milliseconds(chosen.timeout) : Clock::time_point::max();
  const bool hands_over = (chosen.flags & SOCKMI_HAND_OVER) != 0;
  call.prepare = [&](std::size_t i) -> Result<ExportItem> {
    const ByteView payload(static_cast<const std::uint8_t*>(requests[i].payload),
                           requests[i].payload_len);
    if (requests[i].ssl) {
      auto item = prepare(requests[i].ssl, requests[i].state, payload, until);
      if (item && hands_over) tls::suspend(requests[i].ssl, true);
      return item;
    }
    return ExportItem{requests[i].fd, static_cast<unsigned>(requests[i].state), {}, payload};
  };
  int gone = 0;
  std::string left;
  call.settle = [&](std::size_t i, const Result<>& result) {
    SSL* ssl = requests[i].ssl;
    requests[i].error = result ? 0 : result.error().code;
    if (ssl && hands_over) tls::suspend(ssl, false);
    if (!result && ssl && result.error().code == EINPROGRESS) tls::doubt(ssl);
    if (!result) {
      (void)report(result.error());
      return;
    }
    ++gone;
    if (ssl)
      if (auto keys = end_exported(ssl); !keys.empty()) left = std::move(keys);
  };
  export_endpoints(call, af, to, chosen);
  if (gone > 0 && !left.empty()) (void)report({EIO, left});
  return gone > 0 || nreqs == 0 ? gone : -1;
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
    if (const auto known = check_reserved(request); !known) return report(known.error());
    if (!request.ssl && request.criteria.states == 0)
      return report({EINVAL, "an import request without an SSL and without states"});
    const unsigned states = request.criteria.states ? request.criteria.states : kTlsStates;
    if (states & ~(request.ssl ? kTlsStates : kSocketStates))
      return report({EINVAL, "the states do not fit: TLS states need an SSL, others have none"});
    criteria.push_back({&request.criteria, states, static_cast<unsigned>(request.preferred_state)});
  }
  const auto accept = [&](ImportedEndpoint arrived) -> Result<> {
    auto& request = requests[arrived.request];
    TRY(ask(request, arrived.payload));
    TRY_LET(payload, copy_payload(arrived.payload));
    const Secret image(arrived.tls.begin(), arrived.tls.end());
    Result<> loaded;
    if (request.ssl) loaded = tls::load(image, request.ssl, kind_of(arrived.state));
    if (loaded && request.ssl) {
      loaded = tls::set_fd(request.ssl, arrived.socket.get());
      if (!loaded) (void)tls::retire(request.ssl);  // the connection goes to another importer
    }
    if (!loaded) {
      std::free(payload);
      return loaded;
    }
    request.payload = payload;
    request.payload_len = arrived.payload.size();
    request.write_taken = request.ssl ? tls::write_taken(request.ssl) : 0;
    request.ssl_state = static_cast<int>(arrived.state);
    request.group = arrived.group;
    request.fd = arrived.socket.release();
    return {};
  };
  const auto imported = import_endpoints(criteria, timeout, accept, [&](std::size_t i) {
    auto& request = requests[i];
    if (request.ssl) (void)tls::retire(request.ssl);
    give_up(request);
    request.ssl_state = 0;
    request.write_taken = 0;
  });
  return imported ? static_cast<int>(*imported) : report(imported.error());
}
