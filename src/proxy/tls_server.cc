#include "proxy/tls_server.h"

#include <openssl/x509v3.h>

#include "proxy/byte_reader.h"
#include "proxy/client_hello.h"
#include "proxy/tls_files.h"

namespace sockmi::proxy {
namespace {

using GeneralNames = OpenSslPointer<GENERAL_NAMES, GENERAL_NAMES_free>;

constexpr const char* kDefault = "default";  // name of the certificate for other clients

int handshake_index() {
  static const int index = SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

ServerHandshake* handshake_of(const SSL* ssl) {
  return static_cast<ServerHandshake*>(SSL_get_ex_data(ssl, handshake_index()));
}

// Returns the bytes of an extension of the ClientHello; none if it lacks it.
ByteView extension_of(SSL* ssl, unsigned type) {
  const unsigned char* bytes = nullptr;
  std::size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, type, &bytes, &size) != 1) return {};
  return {bytes, size};
}

Result<> read_hello(SSL* ssl, ServerHandshake& handshake) {
  if (const auto names = extension_of(ssl, TLSEXT_TYPE_server_name); !names.empty()) {
    TRY_LET(name, read_server_name(names));
    handshake.server_name = std::move(name);
  }
  const auto list = extension_of(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation);
  if (!list.empty()) {
    ByteReader reader(list);
    const auto size = reader.number(2);
    if (size != reader.left()) return fail(EPROTO, "malformed list of application protocols");
    TRY_LET(offered, read_protocols(reader.take(size)));
    handshake.offered = std::move(offered);
  }
  handshake.arrived = true;
  return {};
}

// Called again after the answer, and for the second ClientHello of a client.
int on_client_hello(SSL* ssl, int* alert, void*) {
  ServerHandshake* handshake = handshake_of(ssl);
  if (!handshake || handshake->protocol) return SSL_CLIENT_HELLO_SUCCESS;
  if (handshake->alert == 0 && read_hello(ssl, *handshake)) return SSL_CLIENT_HELLO_RETRY;
  *alert = handshake->alert ? handshake->alert : SSL_AD_DECODE_ERROR;
  return SSL_CLIENT_HELLO_ERROR;
}

// Returns the protocol at its place in what the client offers; nullptr: it is not there.
const unsigned char* find_protocol(std::string_view protocol,
                                   std::span<const unsigned char> offered) {
  for (std::size_t at = 0; at < offered.size(); at += 1u + offered[at]) {
    const auto name = offered.subspan(at + 1);
    if (offered[at] == protocol.size() && name.size() >= protocol.size() &&
        std::equal(protocol.begin(), protocol.end(), name.begin()))
      return &offered[at];
  }
  return nullptr;
}

int choose_protocol(SSL* ssl, const unsigned char** out, unsigned char* out_size,
                    const unsigned char* offered, unsigned int offered_size, void*) {
  const ServerHandshake* handshake = handshake_of(ssl);
  const unsigned char* found = offered;
  if (handshake) {
    if (!handshake->protocol || handshake->protocol->empty()) return SSL_TLSEXT_ERR_NOACK;
    found = find_protocol(*handshake->protocol, {offered, offered_size});
    if (!found) return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out_size = *found;
  *out = found + 1;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

Result<std::shared_ptr<const TlsServer>> TlsServer::make(const ListenerConfig& config) {
  std::shared_ptr<TlsServer> made(new TlsServer);
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
  set_common_options(context.get());
  TRY(use_certificate(context.get(), files));
  SSL_CTX_set_client_hello_cb(context.get(), on_client_hello, nullptr);
  SSL_CTX_set_tlsext_servername_callback(context.get(), choose_certificate);
  SSL_CTX_set_tlsext_servername_arg(context.get(), this);
  SSL_CTX_set_alpn_select_cb(context.get(), choose_protocol, nullptr);
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

SslPointer TlsServer::new_ssl(ServerHandshake* handshake) const {
  SslPointer ssl(SSL_new(default_));
  if (!ssl || SSL_set_ex_data(ssl.get(), handshake_index(), handshake) != 1) return nullptr;
  SSL_set_accept_state(ssl.get());
  return ssl;
}

void TlsServer::forget_handshake(SSL* ssl) {
  SSL_set_ex_data(ssl, handshake_index(), nullptr);
}

int TlsServer::choose_certificate(SSL* ssl, int*, void* self) {
  const auto* server = static_cast<const TlsServer*>(self);
  const auto* context = server->by_name_.find(server_name_of(ssl));
  if (context && !SSL_set_SSL_CTX(ssl, *context)) return SSL_TLSEXT_ERR_ALERT_FATAL;
  return SSL_TLSEXT_ERR_OK;
}

std::string_view server_name_of(const SSL* ssl) {
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  return name ? name : "";
}

}  // namespace sockmi::proxy
