// Passes HMAC on to the default provider. For the records of a TLS 1.2 CBC connection,
// whose cipher does not see record sequence numbers, it records and shifts them here: the
// authenticated data begin with a header, and the header begins with the number (RFC
// 5246, 6.2.3.1; the same with encrypt-then-MAC, RFC 7366).
//
// For each direction, libssl keys an HMAC immediately before that direction's cipher. The
// cipher then claims this HMAC (claim_mac()). All other HMACs are only passed on.
#include <cstring>

#include <openssl/core_names.h>
#include <openssl/params.h>
#include <openssl/ssl3.h>

#include "tls/provider/dispatch.h"

namespace sockmi::tls {

namespace {

struct MacTable {
  OSSL_FUNC_mac_newctx_fn* newctx;
  OSSL_FUNC_mac_dupctx_fn* dupctx;
  OSSL_FUNC_mac_freectx_fn* freectx;
  OSSL_FUNC_mac_init_fn* init;
  OSSL_FUNC_mac_update_fn* update;
  OSSL_FUNC_mac_final_fn* final;
  OSSL_FUNC_mac_get_ctx_params_fn* get_ctx_params;
  OSSL_FUNC_mac_set_ctx_params_fn* set_ctx_params;
  OSSL_FUNC_mac_gettable_ctx_params_fn* gettable_ctx_params;
  OSSL_FUNC_mac_settable_ctx_params_fn* settable_ctx_params;
};
MacTable table;
constexpr std::size_t kHeader = 13;

}  // namespace

struct MacContext {
  void* inner = nullptr;
  std::shared_ptr<MacState> state;  // null: any HMAC of libssl's or the application's
  bool fresh = true;                // no data was authenticated yet
};

namespace {

// The HMAC that was keyed last, until a cipher claims it.
thread_local MacContext* latest = nullptr;

MacContext& context_of(void* v) {
  return *static_cast<MacContext*>(v);
}

void* new_context(void*) {
  return new MacContext{.inner = table.newctx(DefaultProvider::get().context), .state = nullptr};
}
void free_context(void* v) {
  auto* c = static_cast<MacContext*>(v);
  if (!c) return;
  if (c->state && c->state->origin == c) c->state->origin = nullptr;
  if (latest == c) latest = nullptr;
  table.freectx(c->inner);
  delete c;
}
void* duplicate(void* v) {
  void* inner = table.dupctx(context_of(v).inner);
  return inner ? new MacContext{.inner = inner,
                                .state = context_of(v).state,
                                .fresh = context_of(v).fresh}
               : nullptr;
}
int init(void* v, const unsigned char* key, std::size_t size, const OSSL_PARAM params[]) {
  MacContext& c = context_of(v);
  c.fresh = true;
  if (key) {
    c.state.reset();
    latest = &c;
  }
  return table.init(c.inner, key, size, params);
}
int update(void* v, const unsigned char* data, std::size_t size) {
  MacContext& c = context_of(v);
  // libssl copies a record's HMAC before it uses it, so this one is not for records.
  if (latest == &c) latest = nullptr;
  if (!std::exchange(c.fresh, false) || size != kHeader || !c.state)
    return table.update(c.inner, data, size);
  std::uint8_t moved[kHeader];
  std::memcpy(moved, data, kHeader);
  c.state->sequence.count = read_u64(moved) + 1;
  c.state->application_data = moved[8] == SSL3_RT_APPLICATION_DATA;
  write_u64(moved, c.state->sequence.next() - 1);
  return table.update(c.inner, moved, kHeader);
}
int final(void* v, unsigned char* out, std::size_t* out_size, std::size_t room) {
  return table.final(context_of(v).inner, out, out_size, room);
}
int get_ctx_params(void* v, OSSL_PARAM params[]) {
  return table.get_ctx_params(context_of(v).inner, params);
}
int set_ctx_params(void* v, const OSSL_PARAM params[]) {
  return table.set_ctx_params(context_of(v).inner, params);
}
const OSSL_PARAM* gettable_ctx(void*, void*) {
  return table.gettable_ctx_params(nullptr, DefaultProvider::get().context);
}
const OSSL_PARAM* settable_ctx(void*, void*) {
  return table.settable_ctx_params(nullptr, DefaultProvider::get().context);
}

const OSSL_DISPATCH* dispatch() {
  static const OSSL_DISPATCH functions[] = {
      {OSSL_FUNC_MAC_NEWCTX, generic(new_context)},
      {OSSL_FUNC_MAC_DUPCTX, generic(duplicate)},
      {OSSL_FUNC_MAC_FREECTX, generic(free_context)},
      {OSSL_FUNC_MAC_INIT, generic(init)},
      {OSSL_FUNC_MAC_UPDATE, generic(update)},
      {OSSL_FUNC_MAC_FINAL, generic(final)},
      {OSSL_FUNC_MAC_GET_CTX_PARAMS, generic(get_ctx_params)},
      {OSSL_FUNC_MAC_SET_CTX_PARAMS, generic(set_ctx_params)},
      {OSSL_FUNC_MAC_GETTABLE_CTX_PARAMS, generic(gettable_ctx)},
      {OSSL_FUNC_MAC_SETTABLE_CTX_PARAMS, generic(settable_ctx)},
      {0, nullptr}};
  return functions;
}

void fill(const OSSL_DISPATCH* d) {
  for (; d->function_id; ++d) {
    switch (d->function_id) {
      case OSSL_FUNC_MAC_NEWCTX: table.newctx = OSSL_FUNC_mac_newctx(d); break;
      case OSSL_FUNC_MAC_DUPCTX: table.dupctx = OSSL_FUNC_mac_dupctx(d); break;
      case OSSL_FUNC_MAC_FREECTX: table.freectx = OSSL_FUNC_mac_freectx(d); break;
      case OSSL_FUNC_MAC_INIT: table.init = OSSL_FUNC_mac_init(d); break;
      case OSSL_FUNC_MAC_UPDATE: table.update = OSSL_FUNC_mac_update(d); break;
      case OSSL_FUNC_MAC_FINAL: table.final = OSSL_FUNC_mac_final(d); break;
      case OSSL_FUNC_MAC_GET_CTX_PARAMS:
        table.get_ctx_params = OSSL_FUNC_mac_get_ctx_params(d);
        break;
      case OSSL_FUNC_MAC_SET_CTX_PARAMS:
        table.set_ctx_params = OSSL_FUNC_mac_set_ctx_params(d);
        break;
      case OSSL_FUNC_MAC_GETTABLE_CTX_PARAMS:
        table.gettable_ctx_params = OSSL_FUNC_mac_gettable_ctx_params(d);
        break;
      case OSSL_FUNC_MAC_SETTABLE_CTX_PARAMS:
        table.settable_ctx_params = OSSL_FUNC_mac_settable_ctx_params(d);
        break;
      default: break;
    }
  }
}

}  // namespace

std::shared_ptr<MacState> claim_mac() {
  if (!latest) return nullptr;
  MacContext& context = *std::exchange(latest, nullptr);
  context.state = std::make_shared<MacState>();
  context.state->origin = &context;
  return context.state;
}

bool rekey_mac(MacState& mac, const Secret& key) {
  return mac.origin && table.init(mac.origin->inner, key.data(), key.size(), nullptr) == 1;
}

const OSSL_ALGORITHM* wrapped_macs() {
  static const OSSL_ALGORITHM* offered = [] {
    static OSSL_ALGORITHM out[2];
    int no_cache = 0;
    for (const OSSL_ALGORITHM* a =
             OSSL_PROVIDER_query_operation(DefaultProvider::get().provider, OSSL_OP_MAC, &no_cache);
         a && a->algorithm_names; ++a) {
      if (has_name(a->algorithm_names, "HMAC")) {
        fill(a->implementation);
        out[0] = {a->algorithm_names, "provider=sockmi", dispatch(), nullptr};
      }
    }
    return out;
  }();
  return offered;
}

}  // namespace sockmi::tls
