#include "lib/http_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <sstream>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/vector_body.hpp>
#include <boost/beast/http/write.hpp>
#include <nlohmann/json.hpp>

#include "base/scm_rights.h"

namespace sockmi::lib {
namespace {

namespace http = boost::beast::http;
using SecretBody = http::vector_body<std::uint8_t, SecretAllocator<std::uint8_t>>;

std::string request_head(const std::string& method, const std::string& target, std::size_t length) {
  http::request<http::empty_body> head;
  head.version(11);
  head.method_string(method);
  head.target(target);
  head.set(http::field::host, "sockmid");
  head.content_length(length);
  std::ostringstream text;
  text << head.base();
  return text.str();
}

Error refusal(int status, const Secret& body) {
  const auto value =
      nlohmann::json::parse(body.begin(), body.end(), nullptr, /*allow_exceptions=*/false);
  Error error{EBADMSG, fmt::format("sockmid answered {}", status)};
  if (!value.is_object()) return error;
  if (const auto it = value.find("error"); it != value.end() && it->is_string())
    error.reason = it->get<std::string>();
  if (const auto it = value.find("errno"); it != value.end() && it->is_number_integer())
    error.code = it->get<int>();
  return error;
}

std::chrono::milliseconds left(Deadline until) {
  return std::max(std::chrono::milliseconds(0),
                  std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()));
}

// Waits for POLLIN or POLLOUT. Errors: ETIMEDOUT at the deadline.
Result<> wait_for(int fd, short events, Deadline until) {
  for (;;) {
    pollfd poll{.fd = fd, .events = events};
    const auto time = std::min<std::int64_t>(left(until).count(), std::numeric_limits<int>::max());
    const int ready = ::poll(&poll, 1, until == Deadline::max() ? -1 : static_cast<int>(time));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return fail_errno("cannot poll");
    if (ready == 0 && Clock::now() >= until) return fail(ETIMEDOUT, "sockmid does not answer");
  }
}

Result<std::size_t> receive(int fd, std::span<std::uint8_t> into,
                            std::vector<unique_fd>& descriptors, Deadline until) {
  alignas(cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))];
  iovec part{into.data(), into.size()};
  msghdr message{
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  ssize_t got;
  while ((got = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT)) < 0 &&
         (errno == EAGAIN || errno == EINTR))
    TRY(wait_for(fd, POLLIN, until));
  if (got < 0) return fail_errno("cannot receive sockmid's answer");
  take_descriptors(message, descriptors);
  if (got == 0) return fail(ECONNRESET, "sockmid closed the connection");
  return static_cast<std::size_t>(got);
}

}  // namespace

// The errno of connect(2) depends on how a daemon is missing: no folder, no socket, a
// socket that nobody listens to. All of it is ENXIO to the application.
Result<Client> Client::connect(Deadline until) {
  const char* path = ::secure_getenv("SOCKMID_SOCKET");
  if (!path || !*path) path = kDefaultSocket;
  sockaddr_un address{.sun_family = AF_UNIX};
  if (std::strlen(path) >= sizeof address.sun_path)
    return fail(ENXIO, "cannot connect to sockmid at {}: the path is too long", path);
  std::strcpy(address.sun_path, path);
  unique_fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_errno("cannot create a socket");
  // connect(2) sleeps while the daemon's queue is full. (poll(2) could not report when
  // the queue has space again.)
  for (;;) {
    const auto time = std::clamp(left(until), std::chrono::milliseconds(1),
                                 std::chrono::milliseconds(kAnswerTime));
    const timeval most{.tv_sec = time.count() / 1000, .tv_usec = time.count() % 1000 * 1000};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
      return Client(std::move(socket));
    if (errno == EAGAIN)
      return fail(ETIMEDOUT, "cannot connect to sockmid at {}: it accepts no connection", path);
    if (errno == EINTR) continue;
    const int code = errno == EACCES || errno == EPERM ? EACCES : ENXIO;
    return fail(code, "cannot connect to sockmid at {}: {}", path, strerrordesc_np(errno));
  }
}

Result<> Client::send(ByteView bytes, std::span<const int> descriptors, Deadline until) {
  std::vector<char> control(descriptors.empty() ? 0 : CMSG_SPACE(descriptors.size_bytes()));
  while (!bytes.empty()) {
    iovec part{const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
    msghdr message{.msg_iov = &part, .msg_iovlen = 1};
    attach_descriptors(message, control, descriptors);
    const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
      TRY(wait_for(socket_.get(), POLLOUT, until));
      continue;
    }
    // A daemon that refuses the request before it has received all of it has sent its
    // answer already.
    if (sent < 0 && errno == EPIPE) return {};
    if (sent < 0) return fail_errno("cannot send the request to sockmid");
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
    descriptors = {};
  }
  return {};
}

Result<> Client::send_request(const std::string& method, const std::string& target, ByteView body,
                              std::span<const int> descriptors, Deadline until) {
  const std::string head = request_head(method, target, body.size());
  TRY(send({reinterpret_cast<const std::uint8_t*>(head.data()), head.size()}, descriptors, until));
  return send(body, {}, until);
}

Result<Reply> Client::call(const std::string& method, const std::string& target, ByteView body,
                           Deadline until) {
  TRY(send_request(method, target, body, {}, until));
  auto reply = read_reply(until);
  if (reply && reply->refused) return std::unexpected(std::move(*reply->refused));
  return reply;
}

Result<Reply> Client::read_reply(Deadline until, std::function<std::optional<Deadline>()> more) {
  http::response_parser<SecretBody> parser;
  parser.eager(true);
  parser.body_limit(boost::none);
  Reply reply;
  Secret unread;
  while (!parser.is_done()) {
    const std::size_t old = unread.size();
    unread.resize(old + 65536);
    auto got = receive(socket_.get(), std::span(unread).subspan(old), reply.descriptors, until);
    if (!got && got.error().code == ETIMEDOUT && more) {
      const auto put_off = std::exchange(more, {})();
      unread.resize(old);
      if (!put_off) return pass(std::move(got));
      until = *put_off;
      continue;
    }
    if (!got) return pass(std::move(got));
    unread.resize(old + *got);
    boost::system::error_code error;
    const std::size_t used = parser.put(boost::asio::buffer(unread.data(), unread.size()), error);
    unread.erase(unread.begin(), unread.begin() + static_cast<std::ptrdiff_t>(used));
    if (error && error != http::error::need_more)
      return fail(EBADMSG, "malformed reply from sockmid: {}", error.message());
  }
  reply.status = static_cast<int>(parser.get().result_int());
  reply.body = std::move(parser.get().body());
  if (reply.status >= 400) reply.refused = refusal(reply.status, reply.body);
  return reply;
}

Result<unique_fd> Client::stream(const std::string& target, Deadline until) && {
  const std::string head = request_head("GET", target, 0);
  TRY(send({reinterpret_cast<const std::uint8_t*>(head.data()), head.size()}, {}, until));
  http::response_parser<SecretBody> parser;
  Secret unread;
  std::vector<unique_fd> none;
  // The head is read byte by byte, exactly to its end: what follows is for the
  // descriptor's user.
  while (!parser.is_header_done()) {
    unread.push_back(0);
    auto got = receive(socket_.get(), std::span(unread).last(1), none, until);
    if (!got) return pass(std::move(got));
    boost::system::error_code error;
    const std::size_t used = parser.put(boost::asio::buffer(unread.data(), unread.size()), error);
    unread.erase(unread.begin(), unread.begin() + static_cast<std::ptrdiff_t>(used));
    if (error && error != http::error::need_more)
      return fail(EBADMSG, "malformed reply from sockmid: {}", error.message());
  }
  if (parser.get().result_int() >= 400) {
    parser.eager(true);
    boost::system::error_code error;
    while (!parser.is_done() && !error) {
      unread.resize(4096);
      auto got = receive(socket_.get(), unread, none, until);
      if (!got) break;
      parser.put(boost::asio::buffer(unread.data(), *got), error);
    }
    return std::unexpected(
        refusal(static_cast<int>(parser.get().result_int()), parser.get().body()));
  }
  return std::move(socket_);
}

pid_t Client::peer_pid() const {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

}  // namespace sockmi::lib
