// Frames on a line: length (4 bytes, of the message), correlation (8), kind (1), message. All numbers big-endian. One line carries
// requests one way only: who calls, connects.
#include "peer/transfer.h"

#include <algorithm>
#include <array>
#include <deque>
#include <map>

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <netinet/tcp.h>

#include "base/log.h"
#include "base/spawn.h"

namespace sockmi::peer {
namespace {

using asio::ip::tcp;
using Stream = asio::ssl::stream<tcp::socket>;
using std::chrono::milliseconds;
constexpr std::size_t kHeader = 13;
constexpr std::size_t kLargest = 256u << 20;
constexpr std::size_t kPiece = 8u << 20;  // a larger message gets memory as its bytes come, not as its header promises
constexpr std::size_t kTogether = 4096;   // a message up to this goes out with its header, in one TLS record
constexpr milliseconds kHandshake{3000};
constexpr milliseconds kPause{100};  // after an accept(2) that failed: descriptors are short
constexpr std::size_t kMostStrangers = 64;  // connections that have not shown a certificate yet

struct Frame {
  std::uint64_t correlation = 0;
  bool response = false;
  Secret message;
};

void put(Secret& out, std::uint64_t value, unsigned bytes) {
  while (bytes-- > 0) out.push_back(static_cast<std::uint8_t>(value >> (8 * bytes)));
}

// What is written for a frame: the header, with a small message behind it, and a large message as it is.
std::array<Secret, 2> pack(std::uint64_t correlation, bool response, Secret message) {
  Secret head;
  put(head, message.size(), 4);
  put(head, correlation, 8);
  put(head, response, 1);
  if (message.size() > kTogether) return {std::move(head), std::move(message)};
  head.insert(head.end(), message.begin(), message.end());
  return {std::move(head), Secret()};
}

tcp::endpoint to_asio(const SocketAddress& address) {
  return {asio::ip::make_address(to_string(address.ip)), address.port};
}

void tune(tcp::socket& socket) {
  boost::system::error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  const int seconds = 5, tries = 2, milliseconds_unanswered = 15000;
  (void)::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
  (void)::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
  (void)::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
  (void)::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds_unanswered, sizeof milliseconds_unanswered);
}

std::string common_name(Stream& stream) {
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(SSL_get1_peer_certificate(stream.native_handle()), X509_free);
  char name[256] = {};
  if (certificate) X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name, sizeof name);
  return name;
}

// One TLS connection with framed messages; frames are written in the order of their sending.
class Line : public std::enable_shared_from_this<Line> {
 public:
  Line(tcp::socket socket, asio::ssl::context& context) : stream_(std::move(socket), context) {}

  Stream& stream() { return stream_; }
  bool open() const { return open_; }

  asio::awaitable<Result<>> connect(tcp::endpoint to) {
    auto timer = close_after(kHandshake);
    boost::system::error_code error;
    co_await stream_.next_layer().async_connect(to, asio::redirect_error(asio::use_awaitable, error));
    timer->cancel();
    if (error) co_return fail(EHOSTUNREACH, "{}", error.message());
    tune(stream_.next_layer());
    co_return Result<>();
  }

  asio::awaitable<Result<>> handshake(asio::ssl::stream_base::handshake_type type) {
    auto timer = close_after(kHandshake);
    boost::system::error_code error;
    co_await stream_.async_handshake(type, asio::redirect_error(asio::use_awaitable, error));
    timer->cancel();
    if (error) {
      close();
      co_return fail(ECONNRESET, "TLS handshake: {}", error.message());
    }
    open_ = true;
    co_return Result<>();
  }

  void send(std::array<Secret, 2> frame) {
    const bool idle = outbox_.empty();
    for (Secret& piece : frame)
      if (!piece.empty()) outbox_.push_back(std::move(piece));
    if (idle) write();
  }

  asio::awaitable<Result<Frame>> receive() {
    boost::system::error_code error;
    std::uint8_t header[kHeader];
    co_await asio::async_read(stream_, asio::buffer(header), asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return fail(ECONNRESET, "the line was lost: {}", error.message());
    std::uint64_t size = 0;
    Frame frame;
    for (int i = 0; i < 4; ++i) size = size << 8 | header[i];
    for (int i = 4; i < 12; ++i) frame.correlation = frame.correlation << 8 | header[i];
    frame.response = header[12] == 1;
    if (size > kLargest || header[12] > 1) co_return fail(EBADMSG, "a frame of {} bytes", size);
    while (frame.message.size() < size) {
      const std::size_t at = frame.message.size();
      frame.message.resize(std::min<std::size_t>(size, at + std::max(kPiece, at)));
      co_await asio::async_read(stream_, asio::buffer(frame.message.data() + at, frame.message.size() - at),
                                asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return fail(ECONNRESET, "the line was lost: {}", error.message());
    }
    co_return frame;
  }

  void close() {
    open_ = false;
    boost::system::error_code ignored;
    stream_.lowest_layer().close(ignored);
  }

 private:
  // Unless the timer is cancelled before.
  std::unique_ptr<asio::steady_timer> close_after(milliseconds time) {
    auto timer = std::make_unique<asio::steady_timer>(stream_.get_executor(), time);
    timer->async_wait([self = shared_from_this()](boost::system::error_code error) {
      if (!error) self->close();
    });
    return timer;
  }

  // The first goes out before this returns, if there is room for it: whatever else is due then, the other host need not wait for.
  void write() {
    asio::async_write(stream_, asio::buffer(outbox_.front()), [self = shared_from_this()](boost::system::error_code error, std::size_t) {
      self->outbox_.pop_front();
      if (error) {
        self->outbox_.clear();
        self->close();  // the reader notices, and fails the calls
      }
      if (!self->outbox_.empty()) self->write();
    });
  }

  Stream stream_;
  bool open_ = false;
  std::deque<Secret> outbox_;
};

// A call that waits for its response.
struct Call {
  explicit Call(const asio::any_io_executor& executor) : done(executor) {}
  asio::steady_timer done;  // cancelled when `result` is there
  Result<Secret> result = fail(ETIMEDOUT, "no answer in time");
};

// A line to another host, from the moment on at which somebody wants it. `opening`: what is called meanwhile waits, each call as long as its caller does.
struct Outgoing {
  std::shared_ptr<Line> line;
  SocketAddress address;
  bool opening = true;
  std::map<std::uint64_t, std::shared_ptr<Call>> calls;
  std::vector<std::pair<std::uint64_t, Secret>> waiting;

  void send(std::uint64_t correlation, Secret message) { line->send(pack(correlation, false, std::move(message))); }
  void fail_all(const Error& error) {
    opening = false;
    line->close();
    for (auto& [correlation, call] : calls) {
      call->result = std::unexpected(error);
      call->done.cancel();
    }
    waiting.clear();
  }
};

class TlsTransfer : public Transfer {
 public:
  TlsTransfer(asio::io_context& io, Handler handler)
      : io_(io), acceptor_(io), server_(asio::ssl::context::tls_server), client_(asio::ssl::context::tls_client), handler_(std::move(handler)) {}

  Result<> start(const Identity& identity, const SocketAddress& listen) {
    for (auto* context : {&server_, &client_}) TRY(configure(*context, identity));
    boost::system::error_code error;
    const auto endpoint = to_asio(listen);
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) return fail(error.value(), "private line at {}: {}", to_string(listen), error.message());
    spawn(io_, "accept", accept());
    return {};
  }

  asio::awaitable<Result<Secret>> call(std::string host, SocketAddress address, Secret message, milliseconds timeout) override {
    if (message.size() > kLargest) co_return fail(EMSGSIZE, "a message of {} bytes", message.size());
    const std::shared_ptr<Outgoing> outgoing = line_to(host, address);
    const std::uint64_t correlation = ++last_correlation_;
    auto call = std::make_shared<Call>(acceptor_.get_executor());
    outgoing->calls[correlation] = call;
    if (outgoing->opening) outgoing->waiting.emplace_back(correlation, std::move(message));
    else outgoing->send(correlation, std::move(message));
    call->done.expires_after(timeout);
    boost::system::error_code ignored;
    co_await call->done.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    outgoing->calls.erase(correlation);
    co_return std::move(call->result);
  }

  bool connected(const std::string& host) const override {
    const auto it = outgoing_.find(host);
    return it != outgoing_.end() && it->second->line->open();
  }

 private:
  static Result<> configure(asio::ssl::context& context, const Identity& identity) {
    SSL_CTX* ctx = context.native_handle();
    const auto file = [&](const char* name) { return (identity.folder / name).string(); };
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 || SSL_CTX_use_certificate_file(ctx, file("host.crt").c_str(), SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, file("host.key").c_str(), SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_load_verify_file(ctx, file("ca.crt").c_str()) != 1)
      return fail_openssl(EINVAL, identity.folder.string());
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_options(ctx, SSL_OP_CLEANSE_PLAINTEXT);  // images pass through libssl's buffers
    return {};
  }

  std::shared_ptr<Outgoing> line_to(const std::string& host, const SocketAddress& address) {
    if (const auto it = outgoing_.find(host); it != outgoing_.end())
      if (const Outgoing& there = *it->second; (there.line->open() || there.opening) && there.address == address) return it->second;  // not one that leads elsewhere
    auto outgoing = std::make_shared<Outgoing>(Outgoing{std::make_shared<Line>(tcp::socket(io_), client_), address, true, {}, {}});
    outgoing_[host] = outgoing;
    spawn(io_, "open_line", open_line(host, outgoing));
    return outgoing;
  }

  // Goes on when the caller who wanted it gives up: the next one finds it open.
  static asio::awaitable<void> open_line(std::string host, std::shared_ptr<Outgoing> outgoing) {
    SSL_set1_host(outgoing->line->stream().native_handle(), host.c_str());
    auto opened = co_await outgoing->line->connect(to_asio(outgoing->address));
    if (opened) opened = co_await outgoing->line->handshake(asio::ssl::stream_base::client);
    if (!opened) {
      outgoing->fail_all({opened.error().code, fmt::format("{} at {}: {}", host, to_string(outgoing->address), opened.error().reason)});
      co_return;
    }
    outgoing->opening = false;
    for (auto& [correlation, message] : std::exchange(outgoing->waiting, {}))
      if (outgoing->calls.contains(correlation)) outgoing->send(correlation, std::move(message));
    co_await read_responses(outgoing);
  }

  static asio::awaitable<void> read_responses(std::shared_ptr<Outgoing> outgoing) {
    for (;;) {
      auto frame = co_await outgoing->line->receive();
      if (!frame) {
        outgoing->fail_all(frame.error());
        co_return;
      }
      const auto it = outgoing->calls.find(frame->correlation);
      if (!frame->response || it == outgoing->calls.end()) continue;  // it came too late
      it->second->result = std::move(frame->message);
      it->second->done.cancel();
    }
  }

  asio::awaitable<void> accept() {
    for (;;) {
      boost::system::error_code error;
      tcp::socket socket = co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
      if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) co_return;
      if (error) {
        log::warn("event=line_not_accepted error=\"{}\"", error.message());
        asio::steady_timer pause(io_, kPause);
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
        continue;
      }
      if (strangers_ >= kMostStrangers) continue;
      tune(socket);
      spawn(io_, "serve", serve(std::make_shared<Line>(std::move(socket), server_)), OnException::EndTask);
    }
  }

  asio::awaitable<void> serve(std::shared_ptr<Line> line) {
    ++strangers_;
    auto shaken = co_await line->handshake(asio::ssl::stream_base::server);
    --strangers_;
    if (!shaken) {
      log::warn("event=line_refused error=\"{}\"", to_string(shaken.error()));
      co_return;
    }
    boost::system::error_code error;
    const auto remote = line->stream().next_layer().remote_endpoint(error);
    const Speaker from{common_name(line->stream()), SocketAddress::from(remote.data()).ip.unmapped()};
    while (!error) {
      auto frame = co_await line->receive();
      if (!frame || frame->response) break;
      spawn(io_, "respond", respond(line, from, std::move(*frame)), OnException::EndTask);
    }
    line->close();
  }

  asio::awaitable<void> respond(std::shared_ptr<Line> line, Speaker from, Frame frame) {
    Secret answer = co_await handler_(std::move(from), std::move(frame.message));
    if (line->open()) line->send(pack(frame.correlation, true, std::move(answer)));
  }

  asio::io_context& io_;
  tcp::acceptor acceptor_;
  asio::ssl::context server_, client_;
  Handler handler_;
  std::map<std::string, std::shared_ptr<Outgoing>> outgoing_;
  std::uint64_t last_correlation_ = 0;
  std::size_t strangers_ = 0;
};

}  // namespace

Result<std::unique_ptr<Transfer>> Transfer::open(asio::io_context& io, const Identity& identity, SocketAddress listen, Handler handler) {
  auto transfer = std::make_unique<TlsTransfer>(io, std::move(handler));
  TRY(transfer->start(identity, listen));
  return transfer;
}

}  // namespace sockmi::peer
