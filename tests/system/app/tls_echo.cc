// tls_echo: a TLS echo server for many connections that another process of it replaces
// while it serves. On SIGHUP it hands its listener and its connections over; when all of
// them have gone, it ends.
//
//     tls_echo SERVICE ADDRESS PORT CERTIFICATE KEY
//
// ADDRESS "-": it begins nothing, and waits for what another process hands over. What it
// has read and not echoed yet is the payload of a connection.
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sockmi/appsockmi.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

const char* service;
SSL_CTX* context;
int epoll, events, hangup, listener = -1;

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "tls_echo: %s: %s %s\n", what, std::strerror(errno), sockmi_last_error());
  std::exit(1);
}

struct Connection {
  SSL* ssl;
  std::string pending;  // read, and not echoed yet
};
std::map<int, Connection> connections;

void watch(int fd, std::uint32_t what, int change = EPOLL_CTL_ADD) {
  epoll_event event{.events = what, .data = {.fd = fd}};
  if (::epoll_ctl(epoll, change, fd, &event) != 0) die("epoll_ctl");
}

void drop(int fd) {
  SSL_free(connections.at(fd).ssl);
  connections.erase(fd);
  ::close(fd);
}

// Returns false at the end of the stream.
bool echo(int fd, Connection& one) {
  constexpr std::size_t kMost = 64 << 10;
  for (bool more = true; more;) {
    more = false;
    char bytes[16384];
    if (one.pending.size() < kMost) {
      const int got = SSL_read(one.ssl, bytes, sizeof bytes);
      const int error = SSL_get_error(one.ssl, got);
      if (got > 0) one.pending.append(bytes, static_cast<std::size_t>(got));
      if (got <= 0 && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return false;
      more = got > 0;
    }
    while (!one.pending.empty()) {
      const int put = SSL_write(one.ssl, one.pending.data(), static_cast<int>(one.pending.size()));
      const int error = SSL_get_error(one.ssl, put);
      if (put <= 0 && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return false;
      if (put <= 0) break;
      one.pending.erase(0, static_cast<std::size_t>(put));
      more = true;
    }
  }
  watch(fd, one.pending.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
  return true;
}

void serve(int fd) {
  const auto found = connections.find(fd);
  if (found != connections.end() && !echo(fd, found->second)) drop(fd);
}

void accept_all() {
  int fd;
  while ((fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
    Connection one{SSL_new(context), {}};
    if (sockmi_set_fd(one.ssl, fd) != 0) die("set_fd");
    SSL_set_accept_state(one.ssl);
    connections.emplace(fd, one);
    watch(fd, EPOLLIN);
  }
}

void take_all() {
  for (int got = 1; got > 0;) {
    std::vector<sockmi_import_ssl_req> requests(64);
    for (auto& request : requests) {
      request.criteria.service = service;
      const bool first = &request == &requests.front();
      if (!first) request.ssl = SSL_new(context);
      request.criteria.states =
          first ? SOCKMI_LISTENING : SOCKMI_SERVER_ESTABLISHED | SOCKMI_SERVER_CONNECTED;
    }
    got = import_ssl(requests.data(), static_cast<unsigned>(requests.size()), 0);
    if (got < 0) std::printf("not imported: %s\n", sockmi_last_error());
    for (auto& request : requests) {
      if (request.ssl_state == 0) {
        SSL_free(request.ssl);
        continue;
      }
      if (!request.ssl) {
        std::printf("took the listener\n");
        listener = request.fd;
        watch(listener, EPOLLIN);
        continue;
      }
      Connection one{request.ssl, {static_cast<const char*>(request.payload), request.payload_len}};
      one.pending.erase(0, request.write_taken);
      std::free(request.payload);
      watch(request.fd, EPOLLIN);
      const auto at = connections.emplace(request.fd, std::move(one)).first;
      serve(at->first);
    }
    if (got > 0) std::printf("took %d\n", got);
  }
}

void hand_over() {
  std::vector<sockmi_export_ssl_req> requests;
  if (listener >= 0) {
    sockmi_export_ssl_req& request = requests.emplace_back();
    request.fd = listener;
    request.state = SOCKMI_LISTENING;
  }
  for (auto& [fd, one] : connections) {
    sockmi_export_ssl_req request{};
    request.ssl = one.ssl;
    request.fd = fd;
    request.state = SSL_in_before(one.ssl) ? SOCKMI_SERVER_CONNECTED : SOCKMI_SERVER_ESTABLISHED;
    request.payload = one.pending.data();
    request.payload_len = one.pending.size();
    requests.push_back(request);
  }
  sockmi_export_options options{};
  options.service = service;
  options.flags = SOCKMI_HAND_OVER;
  options.timeout = 20'000;
  const int went = sockmi_export_ssls(requests.data(), static_cast<unsigned>(requests.size()),
                                      AF_UNSPEC, nullptr, &options);
  std::printf("handed over %d of %zu: %s\n", went, requests.size(), sockmi_last_error());
  for (const auto& request : requests) {
    if (request.error == 0 && !request.ssl) {
      ::close(listener);
      listener = -1;
    } else if (request.error == 0) {
      drop(request.fd);
    } else if (request.ssl) {
      serve(request.fd);  // it goes on here
    }
  }
  if (listener < 0 && connections.empty()) std::exit(0);
}

void listen_at(const char* address, const char* port) {
  sockaddr_in local{};
  local.sin_family = AF_INET;
  local.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  if (::inet_pton(AF_INET, address, &local.sin_addr) != 1) die(address);
  const int on = 1;
  listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(listener, reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0 ||
      ::listen(listener, 512) != 0)
    die("cannot listen");
  watch(listener, EPOLLIN);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  service = argv[1];
  if (sockmi_enable(nullptr) != 0) die("no provider");
  context = SSL_CTX_new(TLS_server_method());
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (SSL_CTX_use_certificate_chain_file(context, argv[4]) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, argv[5], SSL_FILETYPE_PEM) != 1)
    die("no certificate");
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGHUP);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  epoll = ::epoll_create1(EPOLL_CLOEXEC);
  hangup = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  events = sockmi_event_open(service);
  if (events < 0) die("no daemon");
  watch(hangup, EPOLLIN);
  watch(events, EPOLLIN);
  if (std::strcmp(argv[2], "-") != 0) listen_at(argv[2], argv[3]);
  std::printf("tls_echo ready\n");
  for (epoll_event event;;) {
    if (::epoll_wait(epoll, &event, 1, -1) <= 0) continue;
    const int fd = event.data.fd;
    if (fd == hangup) {
      signalfd_siginfo info;
      if (::read(hangup, &info, sizeof info) > 0) hand_over();
    } else if (fd == events) {
      sockmi_event said;
      int got;
      while ((got = sockmi_event_next(events, &said)) == 1)
        said.type == SOCKMI_EVENT_IMPORT ? take_all()
                                         : (void)sockmi_export_done(said.request, 0, 0);
      if (got == 0) continue;
      std::printf("the daemon is gone\n");
      (void)sockmi_event_close(events);
      events = -1;
    } else if (fd == listener) {
      accept_all();
    } else {
      serve(fd);
    }
  }
}
