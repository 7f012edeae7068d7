// One TLS connection between two daemons, with framed messages.
#pragma once

#include <array>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/secret.h"
#include "cluster/authenticated_host.h"
#include "cluster/tls_contexts.h"

namespace sockmi::cluster {

namespace asio = boost::asio;
inline constexpr std::size_t kLargestMessage = 256u << 20;

struct Frame {
  std::uint64_t correlation = 0;
  bool response = false;
  Secret message;
};

// Packs a frame into the pieces that are written: the header with a small message
// appended, or the header and a large message separately. The second piece may be empty.
std::array<Secret, 2> pack(std::uint64_t correlation, bool response, Secret message);

asio::ip::tcp::endpoint to_asio(const SocketAddress& address);

// Frames are written in the order of the calls of send().
class ControlConnection : public std::enable_shared_from_this<ControlConnection> {
 public:
  ControlConnection(asio::ip::tcp::socket socket, std::shared_ptr<Contexts> contexts,
                    asio::ssl::stream_base::handshake_type role);

  bool open() const { return open_; }
  // Connects from the local address `from`: the other host learns by it where to reach
  // us. Errors: EHOSTUNREACH if the connection cannot be made.
  asio::awaitable<Result<>> connect(IpAddress from, SocketAddress to);
  // Performs the handshake and checks that the other end has a certificate of the cluster
  // that is valid for its address. `host`: the name that a client expects; empty on the
  // server. Errors: ECONNRESET if the handshake fails or the connection is lost; EACCES
  // if the certificate is another host's, or for other addresses.
  asio::awaitable<Result<>> handshake(std::string host = {});
  const AuthenticatedHost& remote_host() const { return remote_host_; }
  // Closes the connection if the other end's certificate is not valid any more under
  // these credentials.
  void check(const std::shared_ptr<const Credentials>& credentials);

  void send(std::array<Secret, 2> frame);
  std::size_t unsent() const { return outbox_.size(); }
  // `before_large`: called before a message is received that takes more than 8 MiB.
  asio::awaitable<Result<Frame>> receive(std::function<void()> before_large = {});
  // True from then on until the message has arrived.
  bool receives_large() const { return receives_large_; }
  void close();

 private:
  std::unique_ptr<asio::steady_timer> close_after(std::chrono::milliseconds time);
  Result<> identify(const std::string& expected);
  void write();

  std::shared_ptr<Contexts> contexts_;
  const asio::ssl::stream_base::handshake_type role_;
  asio::ssl::stream<asio::ip::tcp::socket> stream_;
  bool open_ = false, receives_large_ = false;
  std::deque<Secret> outbox_;
  std::string refusal_;
  AuthenticatedHost remote_host_;
  std::shared_ptr<const Credentials> checked_by_;
  std::chrono::system_clock::time_point not_after_;
};

}  // namespace sockmi::cluster
