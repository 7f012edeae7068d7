#include "api/session.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <cstring>
#include <optional>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/serializer.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <openssl/crypto.h>

#include "base/log.h"
#include "base/spawn.h"
#include "broker/policy.h"

namespace sockmi::api {
namespace {

constexpr std::size_t kLargestHeader = 8192;
constexpr std::size_t kMostDescriptors = 64;  // the kernel's own limit is SCM_MAX_FD, 253

Response refusal(const boost::system::error_code& error) {
  if (error == http::error::body_limit) return refuse(413, fmt::format("the body is larger than {} bytes", kLargestBody));
  if (error == http::error::header_limit) return refuse(431, fmt::format("the header is larger than {} bytes", kLargestHeader));
  return refuse(400, "no HTTP/1.1 request: " + error.message());
}

int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

std::string unescape(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

void split_target(Request& request) {
  const std::string_view target(request.http.target().data(), request.http.target().size());
  const auto mark = target.find('?');
  request.path = std::string(target.substr(0, mark));
  for (std::string_view rest = mark == target.npos ? "" : target.substr(mark + 1); !rest.empty();) {
    const auto pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    const auto equals = pair.find('=');
    request.query.emplace_back(unescape(pair.substr(0, equals)), equals == pair.npos ? "" : unescape(pair.substr(equals + 1)));
  }
}

std::string peer_user(LocalSocket& socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return "?";
  return broker::user_name(credentials.uid);
}

Secret serialize_head(int status, const std::string& type, std::optional<std::size_t> length, bool keep_alive) {
  http::response<http::empty_body> head{static_cast<http::status>(status), 11};
  head.set(http::field::content_type, type);
  if (length) head.content_length(*length);
  head.keep_alive(keep_alive);
  http::response_serializer<http::empty_body> serializer(head);
  Secret out;
  boost::system::error_code error;
  while (!serializer.is_done() && !error)
    serializer.next(error, [&](boost::system::error_code&, const auto& buffers) {
      for (const auto buffer : boost::beast::buffers_range_ref(buffers)) {
        const auto* data = static_cast<const std::uint8_t*>(buffer.data());
        out.insert(out.end(), data, data + buffer.size());
      }
      serializer.consume(boost::beast::buffer_bytes(buffers));
    });
  return out;
}

}  // namespace

Response json_response(int status, const nlohmann::json& value) {
  const std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  return {.status = status, .body = Secret(text.begin(), text.end())};
}

Response refuse(int status, const std::string& reason, int code) {
  nlohmann::json value{{"error", reason}};
  if (const char* name = strerrorname_np(code); code != 0) value.update({{"errno", code}, {"name", name ? name : "?"}});  // another host may send any
  return json_response(status, value);
}

std::string Request::parameter(const std::string& name) const {
  for (const auto& [key, value] : query)
    if (key == name) return value;
  return "";
}

asio::awaitable<bool> Session::receive(std::vector<unique_fd>& descriptors) {
  for (;;) {
    boost::system::error_code error;
    co_await socket_.async_wait(LocalSocket::wait_read, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return false;
    std::uint8_t bytes[16384];
    alignas(cmsghdr) char control[CMSG_SPACE(kMostDescriptors * sizeof(int))];
    iovec part{bytes, sizeof bytes};
    msghdr message{.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    const ssize_t got = ::recvmsg(socket_.native_handle(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    for (cmsghdr* c = got >= 0 ? CMSG_FIRSTHDR(&message) : nullptr; c; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
      for (std::size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
        descriptors.emplace_back(fd);
      }
    }
    if (got <= 0) co_return false;
    unread_.insert(unread_.end(), bytes, bytes + got);
    OPENSSL_cleanse(bytes, static_cast<std::size_t>(got));
    co_return true;
  }
}

asio::awaitable<bool> Session::send(Secret bytes, std::vector<unique_fd> descriptors) {
  for (std::size_t at = 0; at < bytes.size();) {
    alignas(cmsghdr) char control[CMSG_SPACE(kMostDescriptors * sizeof(int))]{};
    iovec part{bytes.data() + at, bytes.size() - at};
    msghdr message{.msg_iov = &part, .msg_iovlen = 1};
    if (!descriptors.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
      cmsghdr* c = CMSG_FIRSTHDR(&message);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
      for (std::size_t i = 0; i < descriptors.size(); ++i) {
        const int fd = descriptors[i].get();
        std::memcpy(CMSG_DATA(c) + i * sizeof fd, &fd, sizeof fd);
      }
    }
    const ssize_t sent = ::sendmsg(socket_.native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      at += static_cast<std::size_t>(sent);
      descriptors.clear();
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return false;
    boost::system::error_code error;
    co_await socket_.async_wait(LocalSocket::wait_write, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return false;
  }
  co_return true;
}

// Closing with bytes unread would take our refusal away from a client that is still sending.
asio::awaitable<void> Session::drain() {
  ::shutdown(socket_.native_handle(), SHUT_WR);
  std::vector<unique_fd> ignored;
  for (std::size_t total = 0; total < 16 * kLargestBody; total += unread_.size()) {
    unread_.clear();
    ignored.clear();
    if (!co_await receive(ignored)) co_return;
  }
}

asio::awaitable<void> Session::wait_gone() {
  for (;;) {
    boost::system::error_code error;
    co_await socket_.async_wait(LocalSocket::wait_read, asio::redirect_error(asio::use_awaitable, error));
    char byte;
    const ssize_t got = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    // Whoever talks out of turn is treated as gone: no client of ours does, and its answer is not ready.
    if (error || got >= 0 || (errno != EAGAIN && errno != EINTR)) co_return;
  }
}

asio::awaitable<bool> Session::begin_stream(const std::string& type) {
  co_return co_await send(serialize_head(200, type, std::nullopt, false));
}

asio::awaitable<bool> Session::respond(Response response, bool keep_alive) {
  Secret bytes = serialize_head(response.status, response.type, response.body.size(), keep_alive);
  bytes.insert(bytes.end(), response.body.begin(), response.body.end());
  co_return co_await send(std::move(bytes), std::move(response.descriptors));
}

asio::awaitable<void> Session::run() {
  const auto self = shared_from_this();
  const std::string user = peer_user(socket_);
  for (bool keep_alive = true; keep_alive;) {
    http::request_parser<SecretBody> parser;
    parser.header_limit(kLargestHeader);
    parser.body_limit(kLargestBody);
    parser.eager(true);
    Request request;
    while (!parser.is_done()) {
      boost::system::error_code error;
      if (!unread_.empty()) {
        const std::size_t used = parser.put(asio::buffer(unread_.data(), unread_.size()), error);
        unread_.erase(unread_.begin(), unread_.begin() + static_cast<std::ptrdiff_t>(used));
        if (parser.is_done()) break;
      }
      if (request.descriptors.size() > kMostDescriptors) error = http::error::bad_value;
      if (error && error != http::error::need_more) {
        co_await respond(refusal(error), false);
        co_await drain();
        co_return;
      }
      if (!co_await receive(request.descriptors)) co_return;
    }
    request.http = parser.release();
    request.user = user;
    split_target(request);
    keep_alive = request.http.keep_alive();
    Response response = co_await handler_(*this, request);
    if (response.status == 0) co_return;  // the handler has said all there was to say
    if (!co_await respond(std::move(response), keep_alive)) co_return;
  }
}

std::unique_ptr<Listener> Listener::open(asio::io_context& io, const std::string& path, Session::Handler handler, std::string& error) {
  std::unique_ptr<Listener> listener(new Listener(io, path));
  boost::system::error_code code;
  // A socket file that nobody listens at is a dead daemon's; one that answers is another daemon's.
  LocalSocket probe(io);
  probe.connect(path, code);
  if (!code) {
    error = path + ": another sockmid listens here";
    listener->path_.clear();
    return nullptr;
  }
  ::unlink(path.c_str());
  listener->acceptor_.open({}, code);
  if (!code) listener->acceptor_.bind(path, code);
  if (!code) ::chmod(path.c_str(), 0666);
  if (!code) listener->acceptor_.listen(asio::socket_base::max_listen_connections, code);
  if (code) {
    error = path + ": " + code.message();
    listener->path_.clear();
    return nullptr;
  }
  spawn(io, "accept", accept(*listener, std::move(handler)));
  return listener;
}

Listener::~Listener() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

asio::awaitable<void> Listener::accept(Listener& self, Session::Handler handler) {
  for (;;) {
    boost::system::error_code error;
    LocalSocket socket = co_await self.acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) co_return;
    if (error) {  // out of descriptors: those who are being served will give some back
      log::error("event=accept_failed error=\"{}\"", error.message());
      asio::steady_timer pause(self.acceptor_.get_executor(), std::chrono::milliseconds(100));
      co_await pause.async_wait(asio::use_awaitable);
      continue;
    }
    auto session = std::make_shared<Session>(std::move(socket), handler);
    spawn(self.acceptor_.get_executor(), "session", session->run(), OnException::EndTask);
  }
}

}  // namespace sockmi::api
