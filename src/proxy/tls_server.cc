#include "proxy/tls_server.h"

#include <openssl/x509v3.h>

namespace sockmi::proxy {
namespace {

using GeneralNames = OpenSslPointer<GENERAL_NAMES, GENERAL_NAMES_free>;

constexpr const char* kDefault = "default";  // name of the certificate for other clients

void set_options(SSL_CTX* context) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  // Tickets resume sessions; a cache would grow with the number of clients.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  // Without this, OpenSSL asks at the terminal for the password of an encrypted key.
  SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void*) { return 0; });
}

// Returns the first protocol of ours that the client has offered as well (RFC 7301).
const unsigned char* find_protocol(const std::vector<std::string>& ours,
                                   std::span<const unsigned char> offered) {
  for (const auto& protocol : ours) {
    for (std::size_t at = 0; at < offered.size(); at += 1u + offered[at]) {
      const auto name = offered.subspan(at + 1);
      if (offered[at] == protocol.size() && name.size() >= protocol.size() &&
          std::equal(protocol.begin(), protocol.end(), name.begin()))
        return &offered[at];
    }
  }
  return nullptr;
}

}  // namespace

Result<std::shared_ptr<const TlsServer>> TlsServer::make(const ListenerConfig& config,
                                                         ProtocolsOf protocols) {
  std::shared_ptr<TlsServer> made(new TlsServer);
  made->protocols_ = std::move(protocols);
  for (const auto& [name, files] : config.certificates) {
    TRY_LET(context, made->make_context(files));
    made->add_names(context.get());
    if (!made->default_ || name == kDefault) made->default_ = context.get();
    made->contexts_.push_back(std::move(context));
  }
  return made;
}

Result<SslContext> TlsServer::make_context(const CertificateConfig& files) {
  SslContext context(SSL_CTX_new(TLS_server_method()));
  if (!context) return fail_openssl(ENOMEM, "cannot make a TLS context");
  set_options(context.get());
  if (SSL_CTX_use_certificate_chain_file(context.get(), files.chain.c_str()) != 1)
    return fail_openssl(EINVAL, "cannot use certificate " + files.chain);
  if (SSL_CTX_use_PrivateKey_file(context.get(), files.key.c_str(), SSL_FILETYPE_PEM) != 1)
    return fail_openssl(EINVAL, "cannot use key " + files.key);
  SSL_CTX_set_tlsext_servername_callback(context.get(), choose_certificate);
  SSL_CTX_set_tlsext_servername_arg(context.get(), this);
  SSL_CTX_set_alpn_select_cb(context.get(), choose_protocol, this);
  return context;
}

// The first certificate that has a name is used for it.
void TlsServer::add_names(SSL_CTX* context) {
  const X509* certificate = SSL_CTX_get0_certificate(context);
  const GeneralNames names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS) continue;
    const auto* text = ASN1_STRING_get0_data(name->d.dNSName);
    by_name_.add(std::string_view(reinterpret_cast<const char*>(text),
                                  static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName))),
                 context);
  }
}

SslPointer TlsServer::new_ssl() const {
  SslPointer ssl(SSL_new(default_));
  if (ssl) SSL_set_accept_state(ssl.get());
  return ssl;
}

int TlsServer::choose_certificate(SSL* ssl, int*, void* self) {
  const auto* server = static_cast<const TlsServer*>(self);
  const auto* context = server->by_name_.find(server_name_of(ssl));
  if (context && !SSL_set_SSL_CTX(ssl, *context)) return SSL_TLSEXT_ERR_ALERT_FATAL;
  return SSL_TLSEXT_ERR_OK;
}

int TlsServer::choose_protocol(SSL* ssl, const unsigned char** out, unsigned char* out_size,
                               const unsigned char* offered, unsigned int offered_size,
                               void* self) {
  const auto& ours = static_cast<const TlsServer*>(self)->protocols_(server_name_of(ssl));
  if (ours.empty()) return SSL_TLSEXT_ERR_NOACK;
  const auto* found = find_protocol(ours, {offered, offered_size});
  if (!found) return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out_size = *found;
  *out = found + 1;
  return SSL_TLSEXT_ERR_OK;
}

std::string_view server_name_of(const SSL* ssl) {
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  return name ? name : "";
}

}  // namespace sockmi::proxy
