#include "api/http_server.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <charconv>
#include <cstring>
#include <optional>
#include <sstream>

#include <fmt/core.h>
#include <openssl/crypto.h>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/write.hpp>
#include <nlohmann/json.hpp>

#include "api/caller.h"
#include "base/log.h"
#include "base/percent.h"
#include "base/scm_rights.h"
#include "base/spawn.h"

namespace sockmi::api {
namespace {

constexpr std::size_t kLargestHeader = 8192;
// The kernel's own limit is SCM_MAX_FD, 253.
// Descriptors: the parts of an export and a token; endpoints, each with a token, in both
// directions.
constexpr std::size_t kMostOfAnExport = kMaxDescriptorsPerMessage + 1;
constexpr std::size_t kMostReceived = 2 * kMaxDescriptorsPerMessage;
constexpr std::size_t kMostSent = 2 * kMaxDescriptorsPerMessage;

// How long a client may take: from the first byte of a request to its last, to read what
// it is sent, between two requests, and after a refusal.
using std::chrono::milliseconds;
constexpr milliseconds kToArrive{10'000}, kToBeRead{30'000}, kToBegin{60'000}, kToEnd{2'000};

Response refusal(const boost::system::error_code& error) {
  if (error == http::error::header_limit)
    return refuse(431, fmt::format("header is larger than {} bytes", kLargestHeader));
  return refuse(400, "invalid HTTP/1.1 request: " + error.message());
}

void split_target(Request& request) {
  const std::string_view target(request.http.target().data(), request.http.target().size());
  const auto mark = target.find('?');
  request.path = std::string(target.substr(0, mark));
  for (std::string_view rest = mark == target.npos ? "" : target.substr(mark + 1); !rest.empty();) {
    const auto pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    const auto equals = pair.find('=');
    request.query.emplace_back(percent_decode(pair.substr(0, equals)),
                               equals == pair.npos ? "" : percent_decode(pair.substr(equals + 1)));
  }
}

std::string serialize_head(int status, const std::string& type, std::optional<std::size_t> length,
                           bool keep_alive) {
  http::response<http::empty_body> head{static_cast<http::status>(status), 11};
  head.set(http::field::content_type, type);
  if (length) head.content_length(*length);
  head.keep_alive(keep_alive);
  std::ostringstream text;
  text << head.base();
  return text.str();
}

ByteView bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::size_t descriptor_limit() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<std::size_t>(limit.rlim_cur) : 1024;
}

}  // namespace

Response json_response(int status, const nlohmann::json& value) {
  return {.status = status,
          .text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n"};
}

Response refuse(int status, const std::string& reason, int code) {
  nlohmann::json value{{"error", reason}};
  // The code may come from another host, and be any number.
  if (const char* name = strerrorname_np(code); code != 0)
    value.update({{"errno", code}, {"name", name ? name : "?"}});
  return json_response(status, value);
}

std::string Request::parameter(const std::string& name) const {
  for (const auto& [key, value] : query)
    if (key == name) return value;
  return "";
}

Result<std::uint64_t> Request::number(const std::string& name, std::uint64_t otherwise,
                                      std::uint64_t most) const {
  const std::string text = parameter(name);
  if (text.empty()) return otherwise;
  std::uint64_t value = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || rest != text.data() + text.size() || value > most)
    return fail(EINVAL, "invalid number {}='{}'", name, text);
  return value;
}

void Session::arm(std::chrono::milliseconds patience) {
  expired_ = false;
  timer_.expires_after(patience);
  timer_.async_wait([weak = weak_from_this(), number = ++armed_](const boost::system::error_code&) {
    const auto self = weak.lock();
    if (!self || self->armed_ != number) return;
    self->expired_ = true;
    boost::system::error_code ignored;
    self->socket_.cancel(ignored);
  });
}

void Session::disarm() {
  ++armed_;
  expired_ = false;
  timer_.cancel();
}

ssize_t Session::receive_now(std::vector<unique_fd>& descriptors) {
  std::uint8_t bytes[16384];
  alignas(cmsghdr) char control[CMSG_SPACE(kMostReceived * sizeof(int))];
  iovec part{bytes, sizeof bytes};
  msghdr message{
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  const ssize_t got = ::recvmsg(socket_.native_handle(), &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  const int error = errno;
  if (got >= 0) take_descriptors(message, descriptors);
  if (got > 0) {
    unread_.insert(unread_.end(), bytes, bytes + got);
    OPENSSL_cleanse(bytes, static_cast<std::size_t>(got));
  }
  errno = error;
  return got;
}

asio::awaitable<bool> Session::receive(std::vector<unique_fd>& descriptors) {
  for (;;) {
    boost::system::error_code error;
    if (!expired_) {
      co_await socket_.async_wait(LocalSocket::wait_read,
                                  asio::redirect_error(asio::use_awaitable, error));
    }
    if (error || expired_) co_return false;
    const ssize_t got = receive_now(descriptors);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    co_return got > 0;
  }
}

asio::awaitable<bool> Session::send(ByteView bytes, const std::vector<unique_fd>& descriptors) {
  bool with_descriptors = !descriptors.empty();
  std::vector<int> numbers;
  numbers.reserve(descriptors.size());
  for (const unique_fd& each : descriptors)
    numbers.push_back(each.get());
  arm(kToBeRead);
  const std::shared_ptr<void> done(nullptr, [this](void*) { disarm(); });
  for (std::size_t at = 0; at < bytes.size();) {
    alignas(cmsghdr) char control[CMSG_SPACE(kMostSent * sizeof(int))];
    iovec part{const_cast<std::uint8_t*>(bytes.data()) + at, bytes.size() - at};
    msghdr message{.msg_iov = &part, .msg_iovlen = 1};
    if (with_descriptors) attach_descriptors(message, control, numbers);
    const ssize_t sent = ::sendmsg(socket_.native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      at += static_cast<std::size_t>(sent);
      with_descriptors = false;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return false;
    boost::system::error_code error;
    if (!expired_) {
      co_await socket_.async_wait(LocalSocket::wait_write,
                                  asio::redirect_error(asio::use_awaitable, error));
    }
    if (error || expired_) co_return false;
  }
  co_return true;
}

// Reads what is left of a request. Closing with unread bytes would discard our refusal
// before a client that is still sending can read it.
asio::awaitable<void> Session::drain() {
  ::shutdown(socket_.native_handle(), SHUT_WR);
  arm(kToEnd);
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
    co_await socket_.async_wait(LocalSocket::wait_read,
                                asio::redirect_error(asio::use_awaitable, error));
    char byte;
    const ssize_t got = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    // A client that sends something now is treated as gone: its answer is not ready, and
    // no client of ours sends before it has its answer.
    if (error || got >= 0 || (errno != EAGAIN && errno != EINTR)) co_return;
  }
}

asio::awaitable<bool> Session::begin_stream(const std::string& type) {
  const std::string head = serialize_head(200, type, std::nullopt, false);
  co_return co_await send(bytes_of(head));
}

asio::awaitable<bool> Session::respond(Response response, bool keep_alive) {
  if (auto held = share_.set(Holding::Bytes, response.text.size() + response.body.size()); !held) {
    response = refuse(503, held.error().reason, held.error().code);
    keep_alive = false;
  }
  const std::size_t size = response.text.size() + response.body.size();
  const std::string head = serialize_head(response.status, response.type, size, keep_alive);
  if (!co_await send(bytes_of(head), response.descriptors)) co_return false;
  const ByteView body = response.body.empty() ? bytes_of(response.text) : ByteView(response.body);
  const bool went = co_await send(body);
  (void)share_.set(Holding::Bytes, 0);
  co_return went&& keep_alive;
}

// Checks, as early as possible, whether the part of the request that has arrived exceeds
// the limits of the request or of its user.
Result<> Session::check(const http::request_parser<GrowingBody>& parser, const Request& request) {
  if (request.descriptors.size() > kMostReceived)
    return fail(EINVAL, "request has more than {} descriptors", kMostReceived);
  TRY(share_.set(Holding::Descriptors, request.descriptors.size()));
  if (!parser.is_header_done()) return {};
  const auto& message = parser.get();
  const std::string_view target(message.target().data(), message.target().size());
  const bool posts = message.method() == http::verb::post;
  const auto path = target.substr(0, target.find('?'));
  const bool exports = posts && path == kExports, hands_over = posts && path == kHandOvers;
  if (!exports && !hands_over && !request.descriptors.empty())
    return fail(EINVAL, "only an export may have descriptors");
  if (exports && request.descriptors.size() > kMostOfAnExport)
    return fail(EINVAL, "request has more than {} descriptors", kMostOfAnExport);
  const std::size_t most = exports || hands_over ? kLargestBody : kLargestQuestion;
  if (message.body().size() > most || parser.content_length().value_or(0) > most)
    return fail(EMSGSIZE, "body is larger than {} bytes", most);
  return share_.set(Holding::Bytes, message.body().size());
}

asio::awaitable<Session::Received> Session::read(Request& request) {
  http::request_parser<GrowingBody> parser;
  parser.header_limit(kLargestHeader);
  parser.body_limit(boost::none);  // see check()
  parser.eager(true);
  // No deadline to begin if endpoints were delivered to the client: until it reports
  // which of them it has taken, both sides may have them, so it must be able to report
  // that.
  bool begun = !unread_.empty();
  if (begun) {
    arm(kToArrive);
  } else if (!state) {
    arm(kToBegin);
  }
  while (!parser.is_done()) {
    boost::system::error_code error;
    if (!unread_.empty()) {
      if (!std::exchange(begun, true)) arm(kToArrive);
      const std::size_t used = parser.put(asio::buffer(unread_.data(), unread_.size()), error);
      unread_.erase(unread_.begin(), unread_.begin() + static_cast<std::ptrdiff_t>(used));
      if (error == http::error::need_more) error = {};
    }
    std::optional<Response> refused;
    if (error) {
      refused = refusal(error);
    } else if (auto right = check(parser, request); !right) {
      refused = refuse_for(right.error());
    }
    if (refused) {
      request.descriptors.clear();
      co_await respond(std::move(*refused), false);
      co_await drain();
      co_return Received::Refused;
    }
    if (parser.is_done()) break;
    if (!co_await receive(request.descriptors)) co_return Received::Nothing;
  }
  disarm();
  if (unread_.empty()) Secret().swap(unread_);
  request.http = parser.release();
  request.user = user_;
  split_target(request);
  co_return Received::Request;
}

asio::awaitable<void> Session::run() {
  const auto self = shared_from_this();
  for (bool keep_alive = true; keep_alive;) {
    Request request;
    if (co_await read(request) != Received::Request) co_return;
    keep_alive = request.http.keep_alive();
    Response response = co_await handler_(*this, request);
    request = {};
    (void)share_.set(Holding::Descriptors, 0);
    if (response.status == 0) co_return;  // the handler has sent everything itself
    keep_alive = co_await respond(std::move(response), keep_alive);
  }
}

Listener::Listener(asio::io_context& io, std::string path)
    : acceptor_(io),
      path_(std::move(path)),
      quotas_(std::make_shared<Quotas>(descriptor_limit())) {}

std::unique_ptr<Listener> Listener::open(asio::io_context& io, const std::string& path,
                                         Session::Handler handler, std::string& error) {
  std::unique_ptr<Listener> listener(new Listener(io, path));
  boost::system::error_code code;
  // If a connection to the socket file fails, the file is a dead daemon's. If it
  // succeeds, it is another daemon's.
  LocalSocket probe(io);
  probe.connect(path, code);
  if (!code) {
    error = path + ": another sockmid listens here";
    listener->path_.clear();
    return nullptr;
  }
  // A file that is not a socket is not removed; bind(2) then fails.
  struct stat there {};
  if (::lstat(path.c_str(), &there) == 0 && S_ISSOCK(there.st_mode)) ::unlink(path.c_str());
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
    LocalSocket socket =
        co_await self.acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) co_return;
    // Out of descriptors: clients that are being served will return some.
    if (error) {
      log::error("client_accept_failed", {{"error", error.message()}});
      asio::steady_timer pause(self.acceptor_.get_executor(), std::chrono::milliseconds(100));
      co_await pause.async_wait(asio::use_awaitable);
      continue;
    }
    const User user = caller_of(socket.native_handle());
    auto share = self.quotas_->share_for(user);
    if (auto held = share.set(Holding::Sessions, 1); !held) {
      const Response refused = refuse(503, held.error().reason, held.error().code);
      const std::string all =
          serialize_head(503, refused.type, refused.text.size(), false) + refused.text;
      (void)::send(socket.native_handle(), all.data(), all.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      log::debug("client_refused", {{"uid", user.uid}, {"error", held.error()}});
      continue;
    }
    auto session = std::make_shared<Session>(std::move(socket), user, std::move(share), handler);
    spawn(self.acceptor_.get_executor(), "session", session->run(), OnException::EndTask);
  }
}

}  // namespace sockmi::api
