// relay: a proxy for one connection at a time. It ends the TLS of the client, and relays
// to a backend without TLS. When the operator requests an export, both connections move
// as a group, and a relay of the other host continues with them.
//
//     relay SERVICE LISTEN-ADDRESS BACKEND-ADDRESS PORT CERTIFICATE KEY
//
// LISTEN-ADDRESS "-": it begins no connection, and only imports. The backend has the same
// port. It writes all that it has read from one side before it does anything else, so
// nothing is in between when the connections move.
#include <arpa/inet.h>
#include <poll.h>
#include <sockmi/appsockmi.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

int port;
const char* service;

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "relay: %s: %s %s\n", what, std::strerror(errno), sockmi_last_error());
  std::exit(1);
}

sockaddr_in address_of(const char* text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (::inet_pton(AF_INET, text, &address.sin_addr) != 1) die(text);
  return address;
}

struct Pair {
  SSL* client = nullptr;
  int backend = -1;

  void drop() {
    if (client) {
      const int fd = SSL_get_fd(client);
      SSL_free(client);
      if (fd >= 0) ::close(fd);
    }
    if (backend >= 0) ::close(backend);
    *this = {};
  }
};

void write_all(const Pair& pair, bool to_client, const char* bytes, int count) {
  while (count > 0) {
    const auto wrote = to_client
                           ? SSL_write(pair.client, bytes, count)
                           : static_cast<int>(::send(pair.backend, bytes,
                                                     static_cast<size_t>(count), MSG_NOSIGNAL));
    if (wrote <= 0) die("cannot write");
    bytes += wrote;
    count -= wrote;
  }
}

// Returns false at the end of the stream.
bool relay(const Pair& pair, bool from_client) {
  char bytes[16384];
  do {
    const auto got = from_client ? SSL_read(pair.client, bytes, sizeof bytes)
                                 : static_cast<int>(::recv(pair.backend, bytes, sizeof bytes, 0));
    if (got <= 0) return false;
    write_all(pair, !from_client, bytes, got);
  } while (from_client && SSL_pending(pair.client) > 0);
  return true;
}

void give_away(const sockmi_event& event, Pair& pair) {
  if (!pair.client) {
    sockmi_export_done(event.request, 0, 0);
    return;
  }
  sockmi_export_ssl_req both[2]{};
  both[0].ssl = pair.client;
  both[0].state = SOCKMI_SERVER_ESTABLISHED;
  both[0].payload = "client";
  both[0].payload_len = 6;
  both[1].fd = pair.backend;
  both[1].state = SOCKMI_CONNECTED;
  both[1].payload = "backend";
  both[1].payload_len = 7;
  both[0].group = both[1].group = 1;
  sockmi_export_options options{};
  options.service = service;
  const int moved = sockmi_export_ssls(both, 2, event.af, event.to, &options);
  std::printf("moved %d: errors %d %d: %s\n", moved, both[0].error, both[1].error,
              sockmi_last_error());
  sockmi_export_done(event.request, moved == 2 ? 2 : 0, moved == 2 ? 0 : 2);
  if (moved == 2) pair.drop();
}

void take(SSL_CTX* context, Pair& pair) {
  sockmi_import_ssl_req both[2]{};
  both[0].ssl = SSL_new(context);
  both[0].criteria.states = SOCKMI_SERVER_ESTABLISHED;
  both[1].criteria.states = SOCKMI_CONNECTED;
  for (auto& each : both)
    each.criteria.service = service;
  const int got = import_ssl(both, 2, 0);
  if (got == 2) {
    std::printf("imported %.*s and %.*s, %s\n", static_cast<int>(both[0].payload_len),
                static_cast<const char*>(both[0].payload), static_cast<int>(both[1].payload_len),
                static_cast<const char*>(both[1].payload),
                both[0].group != 0 && both[0].group == both[1].group ? "a group" : "no group");
    pair = {both[0].ssl, both[1].fd};
  } else {
    if (got != 0) std::printf("imported %d: %s\n", got, sockmi_last_error());
    SSL_free(both[0].ssl);
  }
  for (auto& each : both)
    std::free(each.payload);
}

Pair accept_one(int listener, SSL_CTX* context, const sockaddr_in& backend) {
  const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  Pair pair{SSL_new(context), ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (sockmi_set_fd(pair.client, fd) != 0 || SSL_accept(pair.client) != 1) die("no handshake");
  if (::connect(pair.backend, reinterpret_cast<const sockaddr*>(&backend), sizeof backend) != 0)
    die("no backend");
  return pair;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  service = argv[1];
  port = std::atoi(argv[4]);
  if (sockmi_enable(nullptr) != 0) die("no provider");
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  if (SSL_CTX_use_certificate_chain_file(context, argv[5]) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, argv[6], SSL_FILETYPE_PEM) != 1)
    die("no certificate");
  const sockaddr_in backend = address_of(argv[3]);
  int listener = -1;
  if (std::strcmp(argv[2], "-") != 0) {
    const sockaddr_in local = address_of(argv[2]);
    const int on = 1;
    listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(listener, reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0 ||
        ::listen(listener, 8) != 0)
      die("cannot listen");
  }
  const int events = sockmi_event_open(service);
  if (events < 0) die("no daemon");
  std::printf("relay ready\n");
  for (Pair pair;;) {
    pollfd polled[] = {{events, POLLIN, 0},
                       {pair.client ? SSL_get_fd(pair.client) : -1, POLLIN, 0},
                       {pair.backend, POLLIN, 0},
                       {pair.client ? -1 : listener, POLLIN, 0}};
    if (::poll(polled, 4, -1) < 0) return 1;
    if (polled[0].revents) {
      sockmi_event event;
      int got;
      while ((got = sockmi_event_next(events, &event)) == 1) {
        if (event.type == SOCKMI_EVENT_EXPORT)
          give_away(event, pair);
        else if (!pair.client)
          take(context, pair);
      }
      if (got < 0) return 0;  // the daemon is gone
      // An SSL that has just arrived may have data already.
      if (!pair.client || SSL_pending(pair.client) == 0) continue;
    }
    if (polled[3].revents) pair = accept_one(listener, context, backend);
    const bool goes_on =
        (!polled[1].revents || relay(pair, true)) && (!polled[2].revents || relay(pair, false));
    if (!goes_on) pair.drop();
  }
}
