// One TLS connection between two daemons, with framed messages.
#pragma once

#include <array>
#include <chrono>
#include <deque>
#include <memory>
#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/secret.h"
#include "cluster/tls_contexts.h"
#include "cluster/authenticated_host.h"

namespace sockmi::cluster {

namespace asio = boost::asio;
inline constexpr std::size_t kLargestMessage = 256u << 20;

struct Frame {
  std::uint64_t correlation = 0;
  bool response = false;
  Secret message;
};

// What is written for a frame: the header, with a small message behind it, and a large message as it is.
std::array<Secret, 2> pack(std::uint64_t correlation, bool response, Secret message);

asio::ip::tcp::endpoint to_asio(const SocketAddress& address);

// Frames are written in the order of their sending.
class ControlConnection : public std::enable_shared_from_this<ControlConnection> {
 public:
  ControlConnection(asio::ip::tcp::socket socket, std::shared_ptr<Contexts> contexts, asio::ssl::stream_base::handshake_type role);

  bool open() const { return open_; }
  // From `from`, so that the other host knows by it where to reach us.
  asio::awaitable<Result<>> connect(IpAddress from, SocketAddress to);
  // Whoever is at the other end has a certificate of the cluster, for the address at which it is. `host`: a client's expectation.
  asio::awaitable<Result<>> handshake(std::string host = {});
  const AuthenticatedHost& speaker() const { return speaker_; }
  // Closes it if what the other end has shown does not count any more.
  void check(const std::shared_ptr<const Credentials>& credentials);

  void send(std::array<Secret, 2> frame);
  std::size_t unsent() const { return outbox_.size(); }
  asio::awaitable<Result<Frame>> receive();
  void close();

 private:
  std::unique_ptr<asio::steady_timer> close_after(std::chrono::milliseconds time);
  Result<> identify(const std::string& expected);
  void write();

  std::shared_ptr<Contexts> contexts_;
  const asio::ssl::stream_base::handshake_type role_;
  asio::ssl::stream<asio::ip::tcp::socket> stream_;
  bool open_ = false;
  std::deque<Secret> outbox_;
  std::string refusal_;
  AuthenticatedHost speaker_;
  std::shared_ptr<const Credentials> checked_by_;
  std::chrono::system_clock::time_point not_after_;
};

}  // namespace sockmi::cluster
