// The body of a TLS image, any bytes, in an envelope with a correct digest: it is loaded
// or refused. A refused image leaves the SSL before its handshake; a loaded one makes an
// SSL that can be read, written, saved and freed. Neither leaves a key behind.
#include <sys/socket.h>

#include <algorithm>

#include <openssl/err.h>

#include "base/unique_fd.h"
#include "golden/known_answer.h"
#include "tls/provider/secret_registry.h"
#include "wire/envelope.h"
#include "wire/flatbuffer.h"
#include "wire/tls_generated.h"

using namespace sockmi;
using namespace sockmi::tls;

namespace {

void use(SSL* ssl, ByteView bytes) {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) != 0) std::abort();
  unique_fd ours(fds[0]), theirs(fds[1]);
  if (!set_fd(ssl, ours.get())) std::abort();
  char text[256] = {};
  SSL_read(ssl, text, sizeof text);
  (void)::send(theirs.get(), bytes.data(), bytes.size(), 0);
  SSL_read(ssl, text, sizeof text);
  SSL_write(ssl, text, sizeof text);
  if (SSL_is_init_finished(ssl)) {
    unsigned char value[16];
    SSL_export_keying_material(ssl, value, sizeof value, "EXPORTER-x", 10, nullptr, 0, 0);
    (void)save(ssl);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Secret body(data, data + size);
  Kind kind{true, true};
  if (const auto tls = wire::read<wire::Tls>(body))
    kind = {(*tls)->server(), (*tls)->established()};
  SSL* ssl = SSL_new(test::any_context());
  if (load(wire::seal(wire::kTlsKind, wire::kTlsVersion, body), ssl, kind))
    use(ssl, ByteView(body).last(std::min<std::size_t>(size, 300)));
  else if (!SSL_in_before(ssl))
    std::abort();
  SSL_free(ssl);
  ERR_clear_error();
  if (Registry::get().entries() != 0) std::abort();
  return 0;
}

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

// Blind changes seldom leave a table that can be read. So half of the time one field gets
// a new value, and the table is written again.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
  const Secret body(data, data + size);
  const auto tls = wire::read<wire::Tls>(body);
  if (!tls || seed % 2) return LLVMFuzzerMutate(data, size, most);
  wire::TlsT t;
  (*tls)->UnPackTo(&t);
  const auto change = [&](auto& value) {
    LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(&value), sizeof value, sizeof value);
  };
  std::vector<std::uint8_t>* const vectors[] = {
      &t.session,         &t.client_secret,     &t.server_secret,
      &t.exporter_secret, &t.resumption_secret, &t.client_random,
      &t.server_random,   &t.explicit_nonce,    &t.alpn,
      &t.unread,          &t.waiting,           &t.unsent,
      &t.client_finished, &t.server_finished};
  const unsigned choice = seed / 2 % (std::size(vectors) + 12);
  if (choice < std::size(vectors)) {
    auto& value = *vectors[choice];
    const std::size_t before = value.size();
    value.resize(before + 64);
    value.resize(LLVMFuzzerMutate(value.data(), before, value.size()));
  } else {
    switch (choice - std::size(vectors)) {
      case 0: t.server = !t.server; break;
      case 1: t.established = !t.established; break;
      case 2: change(t.version); break;
      case 3: change(t.cipher); break;
      case 4: change(t.read_sequence); break;
      case 5: change(t.write_sequence); break;
      case 6: change(t.key_update); break;
      case 7: t.encrypt_then_mac = !t.encrypt_then_mac; break;
      case 8: t.no_extended_master = !t.no_extended_master; break;
      case 9: change(t.shutdown); break;
      case 10: change(t.num_tickets); break;
      case 11:
        t.peer_chain.push_back(std::make_unique<wire::CertificateT>());
        t.peer_chain.back()->der = t.session;
        break;
    }
  }
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(wire::Tls::Pack(builder, &t));
  const std::size_t written = std::min<std::size_t>(builder.GetSize(), most);
  std::copy_n(builder.GetBufferPointer(), written, data);
  return written;
}
