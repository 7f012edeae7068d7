#include "handshake.h"

#include <algorithm>
#include <string_view>

#include <openssl/err.h>

namespace mover {
namespace {

constexpr const char* kSuites13 =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_"
    "SHA256:TLS_AES_128_CCM_8_SHA256";
constexpr const char* kSuites12 = "ALL:!aNULL:!eNULL:@SECLEVEL=0";

void must(bool done, const char* what) {
  if (!done) fail_openssl(what);
}

// RFC 7301, 3.1.
std::string wire_format(const std::vector<std::string>& protocols) {
  std::string out;
  for (const auto& protocol : protocols)
    out += static_cast<char>(protocol.size()) + protocol;
  return out;
}

}  // namespace

void fail_openssl(const std::string& what) {
  char text[256];
  ERR_error_string_n(ERR_peek_last_error(), text, sizeof text);
  throw Failure(what + ": " + text);
}

Context::Context(const TlsOptions& options) : ctx_(nullptr), options_(options) {
  if (sockmi_enable(nullptr) != 0)
    throw Failure(std::string("sockmi_enable: ") + sockmi_last_error());
  ctx_ = SSL_CTX_new(TLS_method());
  must(
      ctx_ && SSL_CTX_set_cipher_list(ctx_, kSuites12) && SSL_CTX_set_ciphersuites(ctx_, kSuites13),
      "SSL_CTX");
  SSL_CTX_set_min_proto_version(ctx_, TLS1_2_VERSION);
  SSL_CTX_set_dh_auto(ctx_, 1);
  SSL_CTX_set_mode(ctx_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_alpn_select_cb(ctx_, select_alpn, this);
}

// Chooses the first of the client's protocols that is also ours. A mover that only takes
// connections accepts any protocol.
int Context::select_alpn(SSL*, const unsigned char** out, unsigned char* size,
                         const unsigned char* in, unsigned in_size, void* self) {
  const auto& options = static_cast<const Context*>(self)->options_;
  const bool any = options.certificate.empty();
  for (unsigned at = 0; at < in_size; at += 1u + in[at]) {
    const std::string_view offered(reinterpret_cast<const char*>(in + at + 1), in[at]);
    if (!any && std::ranges::find(options.alpn, offered) == options.alpn.end()) continue;
    *out = in + at + 1;
    *size = in[at];
    return SSL_TLSEXT_ERR_OK;
  }
  return SSL_TLSEXT_ERR_NOACK;
}

SslPtr Context::fresh() const {
  SslPtr ssl(SSL_new(ctx_));
  must(ssl != nullptr, "SSL_new");
  return ssl;
}

SslPtr Context::shake_hands(int fd, bool server) const {
  SslPtr ssl = fresh();
  const TlsOptions& o = options_;
  if (!o.version.empty()) {
    const int version = o.version == "1.3" ? TLS1_3_VERSION : TLS1_2_VERSION;
    SSL_set_min_proto_version(ssl.get(), version);
    SSL_set_max_proto_version(ssl.get(), version);
  }
  if (!o.ciphers.empty())
    must(o.version == "1.3" ? SSL_set_ciphersuites(ssl.get(), o.ciphers.c_str())
                            : SSL_set_cipher_list(ssl.get(), (o.ciphers + ":@SECLEVEL=0").c_str()),
         "--ciphers");
  if (server) {
    must(SSL_use_certificate_chain_file(ssl.get(), o.certificate.c_str()) == 1, "--certificate");
    must(SSL_use_PrivateKey_file(ssl.get(), o.key.c_str(), SSL_FILETYPE_PEM) == 1, "--key");
  } else {
    if (!o.ca.empty()) {
      must(SSL_CTX_load_verify_file(ctx_, o.ca.c_str()) == 1, "--ca");
      SSL_set_verify(ssl.get(), SSL_VERIFY_PEER, nullptr);
    }
    if (!o.name.empty())
      must(SSL_set_tlsext_host_name(ssl.get(), o.name.c_str()) &&
               SSL_set1_host(ssl.get(), o.name.c_str()),
           "--name");
    const std::string protocols = wire_format(o.alpn);
    const auto* wire = reinterpret_cast<const unsigned char*>(protocols.data());
    if (!protocols.empty())
      must(SSL_set_alpn_protos(ssl.get(), wire, static_cast<unsigned>(protocols.size())) == 0,
           "--alpn");
  }
  if (sockmi_set_fd(ssl.get(), fd) != 0)
    throw Failure(std::string("sockmi_set_fd: ") + sockmi_last_error());
  must((server ? SSL_accept(ssl.get()) : SSL_connect(ssl.get())) == 1, "handshake");
  return ssl;
}

std::string describe(const SSL* ssl) {
  const unsigned char* alpn = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &alpn, &size);
  std::string out = std::string(SSL_get_version(ssl)) + " " + SSL_get_cipher_name(ssl);
  if (size > 0) out += " alpn=" + std::string(reinterpret_cast<const char*>(alpn), size);
  return out;
}

}  // namespace mover
