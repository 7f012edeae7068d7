// fetch: an HTTPS client whose download can move to another host while the server stays.
//
//     fetch --connect ADDRESS:PORT --path /file
//         downloads; prints "sha256 HEX BYTES", or "exported" if its end has moved
//     fetch --import
//         imports such a download and finishes it
// SHA256_CTX is plain memory and can move, see httpsd/connection.cc.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include <openssl/err.h>
#include <openssl/sha.h>
#include <sockmi/appsockmi.h>
#include <CLI/CLI.hpp>

namespace {

struct Progress {  // moves as the payload; both ends are of the same build
  std::uint64_t length = 0, received = 0;
  bool in_body = false;
  SHA256_CTX digest;
  char head[4096] = {};
  std::size_t head_size = 0;
};

struct Fetch {
  SSL* ssl = nullptr;
  int fd = -1, events = -1;
  std::string service;
  Progress state;
};

int complain(const char* what, const char* why) {
  std::fprintf(stderr, "fetch: %s: %s\n", what, why);
  return 1;
}

// Returns false if the head cannot be used.
bool take(Fetch& f, const char* bytes, std::size_t size) {
  Progress& s = f.state;
  if (s.in_body) {
    SHA256_Update(&s.digest, bytes, size);
    s.received += size;
    return true;
  }
  if (s.head_size + size > sizeof s.head) size = sizeof s.head - s.head_size;
  std::memcpy(s.head + s.head_size, bytes, size);
  s.head_size += size;
  const std::string_view head(s.head, s.head_size);
  const auto end = head.find("\r\n\r\n"), length = head.find("Content-Length: ");
  if (end == head.npos) return s.head_size < sizeof s.head;
  if (length == head.npos || !head.starts_with("HTTP/1.1 200")) return false;
  s.length = std::strtoull(s.head + length + 16, nullptr, 10);
  s.in_body = true;
  return take(f, s.head + end + 4, s.head_size - end - 4);
}

// Returns 1 if the download is done or broken, 0 if it has moved away, -1 if it
// continues.
int handle_events(Fetch& f) {
  sockmi_event event;
  while (sockmi_event_next(f.events, &event) == 1) {
    if (event.type != SOCKMI_EVENT_EXPORT) continue;
    const sockmi_export_options options{.service = f.service.c_str(),
                                        .payload = &f.state,
                                        .payload_len = sizeof f.state,
                                        .timeout = 0};
    const bool moved =
        sockmi_export_ssl_with(f.ssl, SOCKMI_CLIENT_ESTABLISHED, event.af, event.to, &options) == 0;
    if (!moved) std::fprintf(stderr, "fetch: not exported: %s\n", sockmi_last_error());
    sockmi_export_done(event.request, moved, !moved);
    if (moved) return 0;
  }
  return -1;
}

int download(Fetch& f) {
  static char bytes[1 << 17];
  while (!f.state.in_body || f.state.received < f.state.length) {
    const int got = SSL_read(f.ssl, bytes, sizeof bytes);
    const int error = got > 0 ? SSL_ERROR_NONE : SSL_get_error(f.ssl, got);
    if (got > 0) {
      if (!take(f, bytes, static_cast<std::size_t>(got)))
        return complain("the response", "not understood");
    } else if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) {
      return complain("the connection", "broke");
    }
    pollfd polled[] = {
        {f.events, POLLIN, 0},
        {f.fd, static_cast<short>(error == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN), 0}};
    if (poll(polled, 2, got > 0 ? 0 : -1) > 0 && polled[0].revents && handle_events(f) == 0) {
      std::puts("exported");
      return 0;
    }
  }
  unsigned char sum[SHA256_DIGEST_LENGTH];
  SHA256_Final(sum, &f.state.digest);
  std::printf("sha256 ");
  for (const unsigned char byte : sum)
    std::printf("%02x", byte);
  std::printf(" %llu\n", static_cast<unsigned long long>(f.state.received));
  return 0;
}

int start(Fetch& f, SSL_CTX* ctx, std::string address, const std::string& path) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos) return complain("--connect", "wants ADDRESS:PORT");
  sockaddr_in server{
      .sin_family = AF_INET,
      .sin_port = htons(static_cast<std::uint16_t>(std::atoi(address.c_str() + colon + 1)))};
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &server.sin_addr);
  f.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(f.fd, reinterpret_cast<sockaddr*>(&server), sizeof server) != 0)
    return complain("connect", std::strerror(errno));
  f.ssl = SSL_new(ctx);
  if (sockmi_set_fd(f.ssl, f.fd) != 0) return complain("sockmi", sockmi_last_error());
  if (SSL_connect(f.ssl) != 1) return complain("TLS", ERR_reason_error_string(ERR_get_error()));
  const std::string request = "GET " + path + " HTTP/1.1\r\nHost: fetch\r\n\r\n";
  if (SSL_write(f.ssl, request.data(), static_cast<int>(request.size())) <= 0)
    return complain("the request", "was not sent");
  fcntl(f.fd, F_SETFL, fcntl(f.fd, F_GETFL) | O_NONBLOCK);
  SHA256_Init(&f.state.digest);
  return 0;
}

int import_one(Fetch& f, SSL_CTX* ctx) {
  f.ssl = SSL_new(ctx);
  sockmi_import_ssl_req request{};
  request.ssl = f.ssl;
  request.criteria.service = f.service.c_str();
  request.criteria.states = SOCKMI_CLIENT_ESTABLISHED;
  if (import_ssl(&request, 1, -1) != 1) return complain("import", sockmi_last_error());
  f.fd = request.fd;
  const bool fits = request.payload_len == sizeof f.state;
  if (fits) std::memcpy(&f.state, request.payload, sizeof f.state);
  std::free(request.payload);
  return fits && f.state.head_size <= sizeof f.state.head
             ? 0
             : complain("import", "a payload of another program");
}

}  // namespace

int main(int argc, char** argv) {
  std::string address, path = "/";
  Fetch f;
  f.service = "dl";
  bool importing = false;
  CLI::App app{"Downloads a file by HTTPS; the download can move to another host.", "fetch"};
  app.add_option("--connect", address, "ADDRESS:PORT of the server");
  app.add_option("--path", path, "what to download");
  app.add_option("--service", f.service, "under which it is exported and imported")
      ->capture_default_str();
  app.add_flag("--import", importing, "take over a download from another host");
  CLI11_PARSE(app, argc, argv);
  if (sockmi_enable(nullptr) != 0) return complain("sockmi", sockmi_last_error());
  SSL_CTX* ctx = SSL_CTX_new(TLS_client_method());
  f.events = sockmi_event_open(f.service.c_str());
  if (f.events < 0) return complain("sockmid", sockmi_last_error());
  std::puts("fetch ready");
  std::fflush(stdout);
  int result = importing ? import_one(f, ctx) : start(f, ctx, address, path);
  if (result == 0) result = download(f);
  SSL_free(f.ssl);
  SSL_CTX_free(ctx);
  return result;
}
