#include "server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

#include <fmt/core.h>
#include <openssl/err.h>

namespace httpsd {
namespace {

bool complain(const char* what) {
  fmt::print(stderr, "httpsd: {}: {}\n", what, std::strerror(errno));
  return false;
}

constexpr sockmi_event kEverything{};
// Connections that move in one call.
constexpr std::size_t kMostTogether = 128;

std::string text_of(const sockaddr_in& address) {
  char text[INET_ADDRSTRLEN] = "?";
  if (address.sin_family == AF_INET) ::inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
  return fmt::format("{}:{}", text, ntohs(address.sin_port));
}

std::string peer_of(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return text_of(address);
}

bool matches(const sockmi_match& match, const sockaddr_in& address) {
  if (match.port != 0 && match.port != ntohs(address.sin_port)) return false;
  if (match.af == AF_UNSPEC) return true;
  if (match.af != AF_INET || match.prefix > 32) return false;
  std::uint32_t wanted;
  std::memcpy(&wanted, match.addr, 4);
  const std::uint32_t mask = match.prefix == 0 ? 0 : htonl(~0u << (32 - match.prefix));
  return (wanted & mask) == (address.sin_addr.s_addr & mask);
}

}  // namespace

Server::ExportRequest::~ExportRequest() {
  if (id == 0) return;
  answers->push_back(
      {.request = id, .exported = exported, .failed = failed, .error = 0, .reserved = {}});
}

void Server::give_answers() {
  if (answers_.empty()) return;
  if (sockmi_exports_done(answers_.data(), static_cast<unsigned>(answers_.size())) < 0)
    fmt::print(stderr, "event=answer_failed error=\"{}\"\n", sockmi_last_error());
  answers_.clear();
}

bool Server::make_context() {
  if (sockmi_enable(nullptr) != 0) {
    fmt::print(stderr, "httpsd: {}\n", sockmi_last_error());
    return false;
  }
  ctx_ = SSL_CTX_new(TLS_server_method());
  SSL_CTX_set_min_proto_version(ctx_, TLS1_2_VERSION);
  SSL_CTX_set_mode(ctx_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_options(ctx_, SSL_OP_IGNORE_UNEXPECTED_EOF);
  if (SSL_CTX_use_certificate_chain_file(ctx_, options_.cert.c_str()) == 1 &&
      SSL_CTX_use_PrivateKey_file(ctx_, options_.key.c_str(), SSL_FILETYPE_PEM) == 1)
    return true;
  ERR_print_errors_fp(stderr);
  return false;
}

bool Server::make_listener() {
  const auto colon = options_.listen.rfind(':');
  sockaddr_in address{.sin_family = AF_INET};
  if (colon == std::string::npos ||
      ::inet_pton(AF_INET, options_.listen.substr(0, colon).c_str(), &address.sin_addr) != 1) {
    fmt::print(stderr, "httpsd: --listen wants ADDRESS:PORT\n");
    return false;
  }
  address.sin_port =
      htons(static_cast<std::uint16_t>(std::atoi(options_.listen.c_str() + colon + 1)));
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int one = 1;
  ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener_, 1024) != 0)
    return complain(options_.listen.c_str());
  watch(listener_, EPOLLIN, true);
  return true;
}

bool Server::start() {
  root_ = ::open(options_.root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root_ < 0) return complain(options_.root.c_str());
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1})
    ::sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_ = ::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  watch(signals_, EPOLLIN, true);
  timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  const itimerspec every_second{.it_interval = {1, 0}, .it_value = {1, 0}};
  ::timerfd_settime(timer_, 0, &every_second, nullptr);
  watch(timer_, EPOLLIN, true);
  if (!make_context() || (!options_.no_listen && !make_listener())) return false;
  connect_daemon();
  return true;
}

void Server::watch(int fd, std::uint32_t events, bool fresh) {
  epoll_event event{.events = events, .data = {.fd = fd}};
  if (::epoll_ctl(epoll_, fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) != 0)
    complain("epoll_ctl");
}

void Server::accept_all() {
  for (;;) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    const int one = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    SslPtr ssl(SSL_new(ctx_));
    SSL_set_accept_state(ssl.get());
    sockmi_set_fd(ssl.get(), fd);
    add(std::make_unique<Connection>(std::move(ssl), fd, root_, options_.name));
  }
}

void Server::add(std::unique_ptr<Connection> connection) {
  const int fd = connection->fd();
  Client& client = clients_[fd];
  client = {.connection = std::move(connection)};
  socklen_t size = sizeof client.local;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&client.local), &size);
  size = sizeof client.remote;
  ::getpeername(fd, reinterpret_cast<sockaddr*>(&client.remote), &size);
  watch(fd, EPOLLIN, true);
  // The SSL may already hold data, which epoll does not report.
  progress(fd);
}

void Server::progress(int fd) {
  const auto it = clients_.find(fd);
  if (it == clients_.end()) return;
  const auto wants = it->second.connection->progress();
  if (wants == Connection::Wants::close)
    fmt::print(stderr, "event=closed peer={} offset={}\n", peer_of(fd),
               it->second.connection->offset());
  if (wants == Connection::Wants::close) {
    clients_.erase(it);
    return;
  }
  if (it->second.request) {
    export_together({&fd, 1});
    if (!clients_.contains(fd)) return;
  }
  watch(fd, wants == Connection::Wants::write ? EPOLLOUT : EPOLLIN, false);
}

void Server::connect_daemon() {
  if (daemon_ >= 0) return;
  daemon_ = sockmi_event_open(options_.service.c_str());
  if (daemon_ < 0) return;  // it is tried again every second; clients are served meanwhile
  watch(daemon_, EPOLLIN, true);
  fmt::print(stderr, "event=daemon_connected service={}\n", options_.service);
}

void Server::read_events() {
  sockmi_event event;
  int got;
  std::vector<sockmi_event> orders;
  while ((got = sockmi_event_next(daemon_, &event)) == 1) {
    if (event.type == SOCKMI_EVENT_IMPORT) import_all();
    if (event.type == SOCKMI_EVENT_EXPORT) orders.push_back(event);
  }
  export_matching(orders);
  if (got == 0) return;
  fmt::print(stderr, "event=daemon_lost error=\"{}\"\n", sockmi_last_error());
  sockmi_event_close(daemon_);
  daemon_ = -1;
}

void Server::import_all() {
  for (;;) {
    constexpr unsigned kBatch = 16;
    sockmi_import_ssl_req requests[kBatch] = {};
    SslPtr ssls[kBatch];
    for (unsigned i = 0; i < kBatch; ++i) {
      ssls[i].reset(SSL_new(ctx_));
      requests[i].ssl = ssls[i].get();
      requests[i].criteria.service = options_.service.c_str();
      requests[i].criteria.states = SOCKMI_SERVER_ESTABLISHED | SOCKMI_SERVER_CONNECTED;
    }
    const int count = import_ssl(requests, kBatch, 0);
    if (count < 0) fmt::print(stderr, "event=import_failed error=\"{}\"\n", sockmi_last_error());
    if (count <= 0) return;
    for (unsigned i = 0; i < kBatch; ++i) {
      if (requests[i].ssl_state == 0) continue;
      auto connection =
          std::make_unique<Connection>(std::move(ssls[i]), requests[i].fd, root_, options_.name);
      const bool resumed =
          connection->resume(requests[i].payload, requests[i].payload_len, requests[i].write_taken);
      std::free(requests[i].payload);
      fmt::print(stderr, "event={} peer={} offset={} write_taken={}\n",
                 resumed ? "imported" : "bad_payload", peer_of(requests[i].fd),
                 connection->offset(), requests[i].write_taken);
      if (resumed) add(std::move(connection));
    }
  }
}

// The call blocks for the few milliseconds of a migration, however many connections move.
// A server that cannot afford that calls it in a thread of its own.
void Server::export_together(std::span<const int> which) {
  std::vector<std::vector<std::uint8_t>> payloads;
  std::vector<sockmi_export_ssl_req> moves;
  for (const int fd : which) {
    const Connection& connection = *clients_.at(fd).connection;
    const auto& payload = payloads.emplace_back(connection.payload());
    sockmi_export_ssl_req move{};
    move.ssl = connection.ssl();
    move.state =
        SSL_is_init_finished(move.ssl) ? SOCKMI_SERVER_ESTABLISHED : SOCKMI_SERVER_CONNECTED;
    move.payload = payload.data();
    move.payload_len = payload.size();
    moves.push_back(move);
  }
  sockmi_export_options options{};
  options.service = options_.service.c_str();
  const std::shared_ptr<ExportRequest> to = clients_.at(which.front()).request;
  sockmi_export_ssls(moves.data(), static_cast<unsigned>(moves.size()), to->af, to->to.data(),
                     &options);
  const int last = errno;
  for (std::size_t i = 0; i < which.size(); ++i) {
    const auto client = clients_.find(which[i]);
    const std::string peer = text_of(client->second.remote);
    if (moves[i].error == 0) {
      ++client->second.request->exported;
      fmt::print(stderr, "event=exported peer={} offset={}\n", peer,
                 client->second.connection->offset());
      clients_.erase(client);
      continue;
    }
    fmt::print(stderr, "event=export_failed peer={} error=\"{}\"\n", peer,
               moves[i].error == last ? sockmi_last_error() : std::strerror(moves[i].error));
    if (moves[i].error == EAGAIN) continue;  // tried again after its next bytes
    ++client->second.request->failed;
    client->second.request.reset();
  }
}

// A drain orders one connection after the other, and does not wait for the answers: what
// has arrived by now moves together.
void Server::export_matching(std::span<const sockmi_event> orders) {
  std::map<std::pair<int, std::array<unsigned char, 16>>, std::vector<int>> by_host;
  std::set<int> chosen;
  for (const sockmi_event& order : orders) {
    auto request = std::make_shared<ExportRequest>();
    request->id = order.request;
    request->answers = &answers_;
    request->af = order.af;
    std::ranges::copy(order.to, request->to.begin());
    for (auto& [fd, client] : clients_) {
      if (!matches(order.local, client.local) || !matches(order.remote, client.remote) ||
          !chosen.insert(fd).second)
        continue;
      client.request = request;
      by_host[{request->af, request->to}].push_back(fd);
    }
  }
  for (const auto& [host, fds] : by_host) {
    for (std::size_t at = 0; at < fds.size(); at += kMostTogether)
      export_together(std::span(fds).subspan(at, std::min(kMostTogether, fds.size() - at)));
  }
}

int Server::run() {
  std::puts("httpsd ready");
  std::fflush(stdout);
  while (!stop_) {
    epoll_event events[64];
    const int count = ::epoll_wait(epoll_, events, 64, -1);
    if (count < 0 && errno != EINTR) return complain("epoll_wait"), 1;
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listener_) {
        accept_all();
      } else if (fd == signals_) {
        signalfd_siginfo info;
        while (::read(signals_, &info, sizeof info) == sizeof info) {
          if (info.ssi_signo == SIGUSR1)
            export_matching({&kEverything, 1});
          else
            stop_ = true;
        }
      } else if (fd == timer_) {
        std::uint64_t ticks;
        (void)!::read(timer_, &ticks, sizeof ticks);
        connect_daemon();
      } else if (fd == daemon_) {
        read_events();
      } else {
        progress(fd);
      }
    }
    give_answers();
  }
  clients_.clear();
  give_answers();
  SSL_CTX_free(ctx_);
  for (const int fd : {epoll_, listener_, signals_, timer_, daemon_, root_})
    if (fd >= 0) ::close(fd);
  return 0;
}

}  // namespace httpsd
