// The control channel: a mutual TLS 1.3 connection to each other daemon, for requests and
// their responses.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include "base/address.h"
#include "cluster/authenticated_host.h"
#include "cluster/identity.h"

namespace sockmi::cluster {

namespace asio = boost::asio;

class ControlChannel {
 public:
  // Answers one request of an authenticated host.
  using Handler = std::function<asio::awaitable<Secret>(AuthenticatedHost from, Secret message)>;
  static Result<std::unique_ptr<ControlChannel>> open(asio::io_context& io,
                                                      const Identity& identity,
                                                      SocketAddress listen, Handler handler);
  virtual ~ControlChannel() = default;
  // Sends one request to `host` and returns the response. Many calls can be under way
  // over one connection, which the first call opens. The certificate at the other end
  // must be that of `host` and valid for the address `control_address`. A message has at
  // most 256 MiB. Errors: ETIMEDOUT if no response comes within `timeout`; EHOSTUNREACH
  // if the host cannot be connected to; ECONNRESET if the connection is lost or its
  // handshake fails; EACCES if another host is there; EMSGSIZE if the message is too
  // large.
  virtual asio::awaitable<Result<Secret>> call(std::string host, SocketAddress control_address,
                                               Secret message,
                                               std::chrono::milliseconds timeout) = 0;
  // Sets the predicate of the addresses at which members are known to be. Unauthenticated
  // connections from elsewhere cannot use up the capacity reserved for these.
  virtual void set_member_addresses(std::function<bool(const IpAddress&)> is_member) = 0;
  virtual bool connected(const std::string& host) const = 0;
};

}  // namespace sockmi::cluster
