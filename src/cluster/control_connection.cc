// Implements framing. A frame is: length of the message (4 bytes), correlation (8), kind
// (1: 0 request, 1 response), message. All numbers are big-endian.
#include "cluster/control_connection.h"

#include <algorithm>

#include <netinet/tcp.h>
#include <boost/asio/read.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "base/log.h"

namespace sockmi::cluster {
namespace {

using asio::ip::tcp;
using std::chrono::milliseconds;
constexpr std::size_t kHeader = 13;
// Memory for a message that is larger than this is allocated as its bytes arrive, not as
// its header announces.
constexpr std::size_t kReadChunkBytes = 8u << 20;
// A message up to this size is written together with its header, in one TLS record.
constexpr std::size_t kCoalesceLimit = 4096;
constexpr milliseconds kHandshake{3000};

void put(Secret& out, std::uint64_t value, unsigned bytes) {
  while (bytes-- > 0)
    out.push_back(static_cast<std::uint8_t>(value >> (8 * bytes)));
}

void tune(tcp::socket& socket) {
  boost::system::error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  const int seconds = 5, tries = 2, milliseconds_unanswered = 15000;
  (void)::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
  (void)::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
  (void)::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
  (void)::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT,
                     &milliseconds_unanswered, sizeof milliseconds_unanswered);
}

}  // namespace

std::array<Secret, 2> pack(std::uint64_t correlation, bool response, Secret message) {
  Secret head;
  put(head, message.size(), 4);
  put(head, correlation, 8);
  put(head, response, 1);
  if (message.size() > kCoalesceLimit) return {std::move(head), std::move(message)};
  head.insert(head.end(), message.begin(), message.end());
  return {std::move(head), Secret()};
}

tcp::endpoint to_asio(const SocketAddress& address) {
  return {asio::ip::make_address(to_string(address.ip)), address.port};
}

ControlConnection::ControlConnection(tcp::socket socket, std::shared_ptr<Contexts> contexts,
                                     asio::ssl::stream_base::handshake_type role)
    : contexts_(std::move(contexts)),
      role_(role),
      stream_(std::move(socket),
              role == asio::ssl::stream_base::server ? contexts_->server : contexts_->client) {
  send_refusal(stream_.native_handle(), &refusal_);
}

asio::awaitable<Result<>> ControlConnection::connect(IpAddress from, SocketAddress to) {
  auto timer = close_after(kHandshake);
  tcp::socket& socket = stream_.next_layer();
  boost::system::error_code error;
  socket.open(to_asio(to).protocol(), error);
  const int one = 1;  // local ports are shared among destinations
  if (!error) {
    (void)::setsockopt(socket.native_handle(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one,
                       sizeof one);
  }
  if (!error && from.family == to.ip.family) socket.bind(to_asio({from, 0}), error);
  if (!error)
    co_await socket.async_connect(to_asio(to), asio::redirect_error(asio::use_awaitable, error));
  timer->cancel();
  if (error) co_return fail(EHOSTUNREACH, "{}", error.message());
  co_return Result<>();
}

asio::awaitable<Result<>> ControlConnection::handshake(std::string host) {
  auto timer = close_after(kHandshake);
  tune(stream_.next_layer());
  if (!host.empty()) SSL_set1_host(stream_.native_handle(), host.c_str());
  boost::system::error_code error;
  co_await stream_.async_handshake(role_, asio::redirect_error(asio::use_awaitable, error));
  timer->cancel();
  Result<> done;
  if (error) {
    done = fail(ECONNRESET, "TLS handshake: {}", refusal_.empty() ? error.message() : refusal_);
  } else {
    done = identify(host);
  }
  if (!done) close();
  open_ = done.has_value();
  co_return done;
}

Result<> ControlConnection::identify(const std::string& expected) {
  boost::system::error_code error;
  const auto remote = stream_.next_layer().remote_endpoint(error);
  X509* certificate = SSL_get0_peer_certificate(stream_.native_handle());
  if (error || !certificate)
    return fail(ECONNRESET, "control connection was lost in its handshake");
  TRY_LET(member, contexts_->credentials->check(certificate));
  remote_host_ = {member.host, SocketAddress::from(remote.data()).ip.unmapped()};
  if (!expected.empty() && member.host != expected)
    return fail(EACCES, "host {} answered instead of {}", member.host, expected);
  if (!member.has(remote_host_.address)) {
    return fail(EACCES, "host {} connected from {}, which its certificate does not contain",
                member.host, to_string(remote_host_.address));
  }
  checked_by_ = contexts_->credentials;
  not_after_ = member.not_after;
  return {};
}

void ControlConnection::check(const std::shared_ptr<const Credentials>& credentials) {
  if (!open_ || (checked_by_ == credentials && std::chrono::system_clock::now() < not_after_))
    return;
  X509* certificate = SSL_get0_peer_certificate(stream_.native_handle());
  const auto member = credentials->check(certificate);
  checked_by_ = credentials;
  if (member) return;
  log::warn("control_connection_closed", {{"host", remote_host_.host}, {"error", member.error()}});
  close();
}

void ControlConnection::send(std::array<Secret, 2> frame) {
  const bool idle = outbox_.empty();
  for (Secret& piece : frame)
    if (!piece.empty()) outbox_.push_back(std::move(piece));
  if (idle) write();
}

asio::awaitable<Result<Frame>> ControlConnection::receive(std::function<void()> before_large) {
  boost::system::error_code error;
  std::uint8_t header[kHeader];
  co_await asio::async_read(stream_, asio::buffer(header),
                            asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return fail(ECONNRESET, "control connection was lost: {}", error.message());
  std::uint64_t size = 0;
  Frame frame;
  for (int i = 0; i < 4; ++i)
    size = size << 8 | header[i];
  for (int i = 4; i < 12; ++i)
    frame.correlation = frame.correlation << 8 | header[i];
  frame.response = header[12] == 1;
  if (size > kLargestMessage || header[12] > 1)
    co_return fail(EBADMSG, "invalid frame of {} bytes", size);
  receives_large_ = size > kReadChunkBytes;
  if (receives_large_ && before_large) before_large();
  while (frame.message.size() < size) {
    const std::size_t at = frame.message.size();
    frame.message.resize(std::min<std::size_t>(size, at + std::max(kReadChunkBytes, at)));
    co_await asio::async_read(stream_,
                              asio::buffer(frame.message.data() + at, frame.message.size() - at),
                              asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return fail(ECONNRESET, "control connection was lost: {}", error.message());
  }
  receives_large_ = false;
  co_return frame;
}

void ControlConnection::close() {
  open_ = false;
  boost::system::error_code ignored;
  stream_.lowest_layer().close(ignored);
}

// Closes the connection after `time`, unless the returned timer is cancelled before.
std::unique_ptr<asio::steady_timer> ControlConnection::close_after(milliseconds time) {
  auto timer = std::make_unique<asio::steady_timer>(stream_.get_executor(), time);
  timer->async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (!error) self->close();
  });
  return timer;
}

// Writes the next piece. If the socket has room, the first piece is sent before this
// function returns, so the other host does not wait for this host's other work.
void ControlConnection::write() {
  asio::async_write(stream_, asio::buffer(outbox_.front()),
                    [self = shared_from_this()](boost::system::error_code error, std::size_t) {
                      self->outbox_.pop_front();
                      if (error) {
                        self->outbox_.clear();
                        self->close();  // receive() then fails, and with it the calls
                      }
                      if (!self->outbox_.empty()) self->write();
                    });
}

}  // namespace sockmi::cluster
