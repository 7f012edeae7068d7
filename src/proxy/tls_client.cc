#include "proxy/tls_client.h"

#include <openssl/x509v3.h>

#include "proxy/tls_files.h"

namespace sockmi::proxy {
namespace {

Result<> trust(SSL_CTX* context, const std::string& file) {
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  if (file.empty()) {
    if (SSL_CTX_set_default_verify_paths(context) != 1)
      return fail_openssl(EINVAL, "cannot use the authorities of the system");
  } else if (SSL_CTX_load_verify_file(context, file.c_str()) != 1) {
    return fail_openssl(EINVAL, "cannot use authorities " + file);
  }
  return {};
}

// Asks for this server, and accepts only a certificate that is valid for it. There is no
// server name for an IP address (RFC 6066, section 3).
bool set_server_name(SSL* ssl, const std::string& name) {
  if (IpAddress::parse(name))
    return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name.c_str()) == 1;
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return SSL_set1_host(ssl, name.c_str()) == 1 && SSL_set_tlsext_host_name(ssl, name.c_str()) == 1;
}

// SSL_set_alpn_protos() returns 0 for success.
bool offer(SSL* ssl, const Protocols& protocols) {
  const Bytes list = write_protocols(protocols);
  return list.empty() ||
         SSL_set_alpn_protos(ssl, list.data(), static_cast<unsigned>(list.size())) == 0;
}

}  // namespace

Result<std::shared_ptr<const TlsClient>> TlsClient::make(const BackendConfig& config) {
  std::shared_ptr<TlsClient> made(new TlsClient);
  made->server_name_ = config.server_name;
  made->context_.reset(SSL_CTX_new(TLS_client_method()));
  SSL_CTX* context = made->context_.get();
  if (!context) return fail_openssl(ENOMEM, "cannot make a TLS context");
  set_common_options(context);
  TRY(trust(context, config.authorities));
  if (!config.certificate.chain.empty()) TRY(use_certificate(context, config.certificate));
  return made;
}

SslPointer TlsClient::new_ssl(const Protocols& protocols) const {
  SslPointer ssl(SSL_new(context_.get()));
  if (!ssl || !set_server_name(ssl.get(), server_name_) || !offer(ssl.get(), protocols))
    return nullptr;
  SSL_set_connect_state(ssl.get());
  return ssl;
}

std::string_view protocol_of(const SSL* ssl) {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

}  // namespace sockmi::proxy
