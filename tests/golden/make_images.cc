// Makes known-answer images in a new folder: handshakes in memory, images of their ends,
// and what these ends did next. It never writes into an existing folder: every image of a
// version must load in all later builds, so old images are kept and new ones are added.
#include <sys/socket.h>

#include <iostream>

#include <openssl/err.h>

#include "golden/known_answer.h"
#include "unit/tls/pair.h"

namespace sockmi::tls::test {
namespace {

void need(bool good, std::string_view what) {
  if (good) return;
  std::cerr << what << '\n';
  std::exit(1);
}

struct Wire {
  unique_fd server, client;
  Wire() {
    int fds[2];
    need(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0, "socketpair");
    server.reset(fds[0]);
    client.reset(fds[1]);
  }
};

Bytes drain(int fd) {
  Bytes out(1 << 20);
  std::size_t size = 0;
  for (ssize_t got; (got = ::recv(fd, out.data() + size, out.size() - size, 0)) > 0;)
    size += static_cast<std::size_t>(got);
  out.resize(size);
  return out;
}

void put(int fd, ByteView bytes) {
  need(::send(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()), "send");
}

void say(SSL* ssl, const std::string& text) {
  need(SSL_write(ssl, text.data(), static_cast<int>(text.size())) == static_cast<int>(text.size()),
       "SSL_write");
}

void hear(SSL* ssl, const std::string& text) {
  std::string got(text.size(), 0);
  for (std::size_t at = 0; at < got.size();) {
    const int n = SSL_read(ssl, got.data() + at, static_cast<int>(got.size() - at));
    need(n > 0, "SSL_read");
    at += static_cast<std::size_t>(n);
  }
  need(got == text, "another text");
}

struct Ends {
  CtxPtr ctx;
  Wire wire;
  SslPtr server, client;

  explicit Ends(const Case& c)
      : ctx(make_ctx(c, provided())),
        server(SSL_new(ctx.get())),
        client(SSL_new(ctx.get())) {
    SSL_set_accept_state(server.get());
    SSL_set_connect_state(client.get());
    SSL_set_alpn_protos(client.get(), reinterpret_cast<const unsigned char*>("\x02h2"), 3);
    SSL_set_tlsext_host_name(client.get(), "server.test");
    need(set_fd(server.get(), wire.server.get()) && set_fd(client.get(), wire.client.get()),
         "set_fd");
  }

  // Afterwards records have been sent in both directions, and in TLS 1.3 each side's keys
  // are of another generation.
  void establish() {
    for (int i = 0; i < 10; ++i)
      SSL_do_handshake(client.get()), SSL_do_handshake(server.get());
    need(SSL_is_init_finished(client.get()) && SSL_is_init_finished(server.get()), "handshake");
    ERR_clear_error();
    for (int round = 0; round < 3; ++round) {
      say(client.get(), "a question");
      hear(server.get(), "a question");
      say(server.get(), "an answer");
      hear(client.get(), "an answer");
      if (round == 0 && SSL_version(client.get()) == TLS1_3_VERSION)
        need(SSL_key_update(client.get(), SSL_KEY_UPDATE_REQUESTED), "KeyUpdate");
    }
    for (SSL* ssl : {server.get(), client.get()})
      SSL_SESSION_set_time(SSL_get_session(ssl), kSessionTime);
  }
};

KnownAnswer answer_of(const std::string& name, SSL* ssl) {
  KnownAnswer a{.name = name};
  const auto image = save(ssl);
  need(image.has_value(), "save");
  a.image.assign(image->begin(), image->end());
  a.server = SSL_is_server(ssl);
  a.established = phase(ssl) == Phase::Established;
  if (!a.established) return a;
  a.version = SSL_get_version(ssl);
  a.suite = SSL_get_cipher_name(ssl);
  const unsigned char* alpn = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl, &alpn, &size);
  a.alpn.assign(alpn, alpn + size);
  a.server_name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  a.extended_master = SSL_version(ssl) == TLS1_2_VERSION && SSL_get_extms_support(ssl) == 1;
  a.exporter.resize(32);
  need(SSL_export_keying_material(ssl, a.exporter.data(), 32, kExporterLabel.data(),
                                  kExporterLabel.size(), nullptr, 0, 0) == 1,
       "exporter");
  return a;
}

bool is_aead(SSL* ssl) {
  return SSL_CIPHER_is_aead(SSL_get_current_cipher(ssl)) == 1;
}

void append(Bytes& to, const Bytes& more) {
  to.insert(to.end(), more.begin(), more.end());
}

// Records what `from` sends next: a record, in TLS 1.3 a KeyUpdate, and one more record.
void send_recorded(SSL* from, KnownAnswer& writer, KnownAnswer& reader, int reader_fd) {
  writer.writes =
      fmt::format("the {}'s first record behind its image", writer.server ? "server" : "client");
  say(from, writer.writes);
  const Bytes first = drain(reader_fd);
  if (is_aead(from)) writer.leaves = first;  // CBC: every record has a random IV
  reader.arrives = first;
  reader.reads = writer.writes;
  if (SSL_version(from) == TLS1_3_VERSION)
    need(SSL_key_update(from, SSL_KEY_UPDATE_NOT_REQUESTED), "KeyUpdate");
  say(from, "; and one more");
  append(reader.arrives, drain(reader_fd));
  reader.reads += "; and one more";
}

void make_quiet(const Case& c, const std::filesystem::path& folder) {
  Ends ends(c);
  ends.establish();
  const std::string name = c.name;
  KnownAnswer server = answer_of(name + "-server", ends.server.get()),
              client = answer_of(name + "-client", ends.client.get());
  server.other_end = client.name;
  client.other_end = server.name;
  send_recorded(ends.server.get(), server, client, ends.wire.client.get());
  send_recorded(ends.client.get(), client, server, ends.wire.server.get());
  write_files(server, folder);
  write_files(client, folder);
}

// Plaintext that was read in part, a record that waits, half a record, and one that the
// socket accepted in part.
void make_busy(const Case& c, const std::filesystem::path& folder) {
  Ends ends(c);
  ends.establish();
  SSL *const server = ends.server.get(), *const client = ends.client.get();
  Wire tap;
  SSL_set0_wbio(client, BIO_new_socket(tap.client.get(), BIO_NOCLOSE));
  const auto record = [&](const std::string& text) {
    say(client, text);
    return drain(tap.server.get());
  };
  const std::string text = "0123456789, of which ten were read; ";
  put(ends.wire.client.get(), record(text));
  put(ends.wire.client.get(), record("a record that waits; "));
  const Bytes cut = record("half a record; ");
  put(ends.wire.client.get(), ByteView(cut).first(20));
  hear(server, text.substr(0, 10));
  const int smallest = 1;
  need(::setsockopt(ends.wire.server.get(), SOL_SOCKET, SO_SNDBUF, &smallest, sizeof smallest) == 0,
       "SO_SNDBUF");
  say(server, "x");  // so that there is room for a part of the next record
  const std::string much = pattern(3000);
  while (SSL_write(server, much.data(), 3000) > 0) {
  }
  KnownAnswer a = answer_of(c.name, server);
  a.pending = static_cast<unsigned>(text.size() - 10);
  a.write_taken = 3000;
  a.arrives.assign(cut.begin() + 20, cut.end());
  append(a.arrives, record("and the end"));
  a.reads = text.substr(10) + "a record that waits; half a record; and the end";
  (void)drain(ends.wire.client.get());
  need(SSL_write(server, much.data(), 3000) == 3000, "the interrupted SSL_write");
  a.leaves = drain(ends.wire.client.get());
  need(a.leaves.size() > 0 && a.leaves.size() < 3000, "no record was taken in part");
  a.writes = "behind what was unsent";
  say(server, a.writes);
  if (is_aead(server)) append(a.leaves, drain(ends.wire.client.get()));
  write_files(a, folder);
}

void make_before_handshake(const Case& c, const std::filesystem::path& folder) {
  Ends ends(c);
  const std::string name = c.name;
  write_files(answer_of(name + "-client", ends.client.get()), folder);
  SSL_do_handshake(ends.client.get());
  const Bytes hello = drain(ends.wire.server.get());
  put(ends.wire.client.get(), ByteView(hello).first(50));
  SSL_do_handshake(ends.server.get());
  KnownAnswer server = answer_of(name + "-server", ends.server.get());
  server.server_name = "server.test";
  server.arrives.assign(hello.begin() + 50, hello.end());
  write_files(server, folder);
}

constexpr std::uint64_t kMacFirst = SSL_OP_NO_ENCRYPT_THEN_MAC;
const Case kQuiet[] = {
    {"tls13-aes128-gcm", TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", true},
    {"tls13-aes256-gcm", TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", true},
    {"tls13-chacha20", TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", true},
    {"tls13-ccm", TLS1_3_VERSION, "TLS_AES_128_CCM_SHA256", true},
    {"tls12-aes128-gcm", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", true},
    {"tls12-aes256-gcm", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", true},
    {"tls12-chacha20", TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", true},
    {"tls12-ccm8", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-CCM8", true},
    {"tls12-cbc-sha1", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA", true},
    {"tls12-cbc-sha256", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", true},
    {"tls12-cbc-sha384", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA384", true},
    {"tls12-mac-first-sha1", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA", true, kMacFirst},
    {"tls12-mac-first-sha256", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", true, kMacFirst},
    {"tls12-mac-first-sha384", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA384", true, kMacFirst},
    {"tls12-no-extended-master", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", true,
     SSL_OP_NO_EXTENDED_MASTER_SECRET},
};
const Case kBusy[] = {
    {"tls13-busy", TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", true},
    {"tls12-busy", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", true},
    {"tls12-cbc-busy", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA", true, kMacFirst},
};

}  // namespace
}  // namespace sockmi::tls::test

int main(int argc, char** argv) {
  using namespace sockmi::tls::test;
  need(argc == 2, "usage: make_images NEW_FOLDER");
  need(std::filesystem::create_directories(argv[1]), "the folder is there already");
  for (const auto& c : kQuiet)
    make_quiet(c, argv[1]);
  for (const auto& c : kBusy)
    make_busy(c, argv[1]);
  make_before_handshake({"before-handshake", TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", true},
                        argv[1]);
}
