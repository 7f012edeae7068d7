// A private line to each other daemon: mutual TLS 1.3.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include "base/address.h"
#include "cluster/identity.h"
#include "cluster/authenticated_host.h"

namespace sockmi::cluster {

namespace asio = boost::asio;

class ControlChannel {
 public:
  // Answers one message of an authenticated peer.
  using Handler = std::function<asio::awaitable<Secret>(AuthenticatedHost from, Secret message)>;
  static Result<std::unique_ptr<ControlChannel>> open(asio::io_context& io, const Identity& identity, SocketAddress listen, Handler handler);
  virtual ~ControlChannel() = default;
  // One request, one response; many at a time over one line, which the first one opens. The peer's certificate must be `host`'s.
  // ETIMEDOUT, ECONNRESET (line lost), EHOSTUNREACH. At most 256 MiB.
  virtual asio::awaitable<Result<Secret>> call(std::string host, SocketAddress line, Secret message, std::chrono::milliseconds timeout) = 0;
  // Tells at which addresses members are known to be: strangers can't keep them out.
  virtual void set_member_addresses(std::function<bool(const IpAddress&)> is_member) = 0;
  virtual bool connected(const std::string& host) const = 0;
};

}  // namespace sockmi::cluster
