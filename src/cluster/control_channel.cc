// A control connection carries requests in one direction only, from the host that opened
// it; responses go the other way. Two hosts that call each other have two connections.
#include "cluster/control_channel.h"

#include <algorithm>
#include <list>
#include <map>
#include <set>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.h"
#include "base/spawn.h"
#include "cluster/control_connection.h"
#include "cluster/rate_limit.h"

namespace sockmi::cluster {
namespace {

using asio::ip::tcp;
using std::chrono::milliseconds;
constexpr std::size_t kMaxUnauthenticated = 64;  // unauthenticated connections
constexpr std::size_t kMaxUnauthenticatedUnknown =
    32;                                      // of them, from addresses of no known member
constexpr std::size_t kMaxOfOneAddress = 8;  // of them, from one address
constexpr std::size_t kMaxConnectionsPerHost =
    4;                                    // per member: a lost one may still look open here
constexpr std::size_t kMaxRequests = 64;  // per member, unanswered; more wait in its socket
constexpr std::size_t kMaxUnread = 256;   // responses that the other end does not read
constexpr milliseconds kPause{100};       // after a failed accept(2): out of descriptors
constexpr milliseconds kRecheck{1000};    // interval of checking certificates again

// A call that waits for its response.
struct Call {
  explicit Call(const asio::any_io_executor& executor) : done(executor) {}
  asio::steady_timer done;  // cancelled when `result` is set
  Result<Secret> result = fail(ETIMEDOUT, "no answer in time");
};

// An outgoing connection, from the moment it is first wanted. While `opening`, calls are
// queued in `waiting`, each for as long as its own timeout.
struct Outgoing {
  std::shared_ptr<ControlConnection> connection;
  SocketAddress address;
  bool opening = true;
  std::map<std::uint64_t, std::shared_ptr<Call>> calls;
  std::vector<std::pair<std::uint64_t, Secret>> waiting;

  void send(std::uint64_t correlation, Secret message) {
    connection->send(pack(correlation, false, std::move(message)));
  }
  void fail_all(const Error& error) {
    opening = false;
    connection->close();
    for (auto& [correlation, call] : calls) {
      call->result = std::unexpected(error);
      call->done.cancel();
    }
    waiting.clear();
  }
};

class TlsControlChannel : public ControlChannel {
 public:
  TlsControlChannel(asio::io_context& io, const Identity& identity, const SocketAddress& listen,
                    Handler handler)
      : io_(io),
        acceptor_(io),
        identity_(identity),
        listen_(listen),
        handler_(std::move(handler)) {}

  Result<> start() {
    TRY(contexts());
    const SocketAddress& listen = listen_;
    boost::system::error_code error;
    const auto endpoint = to_asio(listen);
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
      return fail(error.value(), "cannot open the control port at {}: {}", to_string(listen),
                  error.message());
    }
    spawn(io_, "accept", accept());
    spawn(io_, "recheck", recheck());
    return {};
  }

  asio::awaitable<Result<Secret>> call(std::string host, SocketAddress address, Secret message,
                                       milliseconds timeout) override {
    if (message.size() > kLargestMessage)
      co_return fail(EMSGSIZE, "cannot send a message of {} bytes", message.size());
    CO_TRY_LET(outgoing, connection_to(host, address));
    const std::uint64_t correlation = ++last_correlation_;
    auto call = std::make_shared<Call>(acceptor_.get_executor());
    outgoing->calls[correlation] = call;
    if (outgoing->opening) {
      outgoing->waiting.emplace_back(correlation, std::move(message));
    } else {
      outgoing->send(correlation, std::move(message));
    }
    call->done.expires_after(timeout);
    boost::system::error_code ignored;
    co_await call->done.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    outgoing->calls.erase(correlation);
    co_return std::move(call->result);
  }

  void set_member_addresses(std::function<bool(const IpAddress&)> is_member) override {
    is_member_ = std::move(is_member);
  }

  bool connected(const std::string& host) const override {
    const auto it = outgoing_.find(host);
    return it != outgoing_.end() && it->second->connection->open();
  }

 private:
  // Returns TLS contexts with the credentials in force.
  Result<std::shared_ptr<Contexts>> contexts() {
    if (!contexts_ || contexts_->credentials != identity_.now()) {
      TRY_LET(made, Contexts::make(identity_.now()));
      contexts_ = std::move(made);
    }
    return contexts_;
  }

  // Returns the connection to `host` at `address`. A connection to the same host at
  // another address is not reused: it does not prove that the host is at `address`, to
  // which packets may be redirected.
  Result<std::shared_ptr<Outgoing>> connection_to(const std::string& host,
                                                  const SocketAddress& address) {
    if (const auto it = outgoing_.find(host); it != outgoing_.end()) {
      if (const Outgoing& there = *it->second;
          (there.connection->open() || there.opening) && there.address == address)
        return it->second;
    }
    TRY_LET(with, contexts());
    // Drop closed entries. Names of homes come from other hosts' messages, so the map
    // could grow without bound otherwise.
    std::erase_if(outgoing_, [](const auto& each) {
      return !each.second->connection->open() && !each.second->opening;
    });
    auto connection =
        std::make_shared<ControlConnection>(tcp::socket(io_), with, asio::ssl::stream_base::client);
    auto outgoing =
        std::make_shared<Outgoing>(Outgoing{std::move(connection), address, true, {}, {}});
    outgoing_[host] = outgoing;
    spawn(io_, "open_connection", open_connection(host, listen_.ip, outgoing));
    return outgoing;
  }

  // Continues if the caller that wanted the connection gives up: the next caller finds it
  // open.
  static asio::awaitable<void> open_connection(std::string host, IpAddress from,
                                               std::shared_ptr<Outgoing> outgoing) {
    auto opened = co_await outgoing->connection->connect(from, outgoing->address);
    if (opened) opened = co_await outgoing->connection->handshake(host);
    if (!opened) {
      outgoing->fail_all(
          {opened.error().code,
           fmt::format("{} at {}: {}", host, to_string(outgoing->address), opened.error().reason)});
      co_return;
    }
    outgoing->opening = false;
    for (auto& [correlation, message] : std::exchange(outgoing->waiting, {}))
      if (outgoing->calls.contains(correlation)) outgoing->send(correlation, std::move(message));
    co_await read_responses(outgoing);
  }

  static asio::awaitable<void> read_responses(std::shared_ptr<Outgoing> outgoing) {
    for (;;) {
      auto frame = co_await outgoing->connection->receive();
      if (!frame) {
        outgoing->fail_all(frame.error());
        co_return;
      }
      const auto it = outgoing->calls.find(frame->correlation);
      if (!frame->response || it == outgoing->calls.end()) continue;  // the call has timed out
      it->second->result = std::move(frame->message);
      it->second->done.cancel();
    }
  }

  asio::awaitable<void> accept() {
    for (;;) {
      boost::system::error_code error;
      tcp::socket socket =
          co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
      if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor)
        co_return;
      if (error) {
        if (const long suppressed = refusals_.take(); suppressed >= 0) {
          log::warn("control_connection_accept_failed",
                    {{"error", error.message()}, {"suppressed", suppressed}});
        }
        asio::steady_timer pause(io_, kPause);
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
        continue;
      }
      const auto remote = socket.remote_endpoint(error);
      if (error) continue;  // it has been closed already
      const IpAddress from = SocketAddress::from(remote.data()).ip.unmapped();
      const auto with = contexts();
      if (auto may = may_begin_handshake(from); !may || !with) {
        refuse(from, may ? with.error() : may.error());
        continue;
      }
      spawn(io_, "serve",
            serve(std::make_shared<ControlConnection>(std::move(socket), *with,
                                                      asio::ssl::stream_base::server),
                  from),
            OnException::EndTask);
    }
  }

  // Checks whether a connection from `from` may begin its handshake. Unauthenticated
  // connections can use up the capacity for other unknown addresses, but not keep out a
  // member that connects from its own address.
  Result<> may_begin_handshake(const IpAddress& from) {
    const auto it = unauthenticated_->at.find(from);
    const bool known = known_.contains(from) || (is_member_ && is_member_(from));
    if (it != unauthenticated_->at.end() && it->second >= kMaxOfOneAddress) {
      return fail(EBUSY, "{} connections from this address have not shown a certificate yet",
                  it->second);
    }
    if (!rate_.take(from)) return fail(EBUSY, "too many connections from this address");
    if (unauthenticated_->all >= kMaxUnauthenticated ||
        (!known && unauthenticated_->unknown >= kMaxUnauthenticatedUnknown))
      return fail(EBUSY, "{} connections have not shown a certificate yet", unauthenticated_->all);
    return {};
  }

  void refuse(const IpAddress& from, const Error& error) {
    if (const long suppressed = refusals_.take(); suppressed >= 0) {
      log::warn("control_connection_refused",
                {{"address", from}, {"error", error}, {"suppressed", suppressed}});
    }
  }

  asio::awaitable<Result<>> handshake(std::shared_ptr<ControlConnection> connection, IpAddress from,
                                      bool known) {
    // The counters are shared and not accessed through `this`: the event loop may destroy
    // this coroutine after the TlsControlChannel is gone.
    const std::shared_ptr<void> done(nullptr, [from, known, counts = unauthenticated_](void*) {
      --counts->all;
      counts->unknown -= !known;
      if (--counts->at[from] == 0) counts->at.erase(from);
    });
    ++unauthenticated_->all;
    ++unauthenticated_->at[from];
    unauthenticated_->unknown += !known;
    co_return co_await connection->handshake();
  }

  asio::awaitable<void> serve(std::shared_ptr<ControlConnection> connection, IpAddress from) {
    const bool known = known_.contains(from) || (is_member_ && is_member_(from));
    if (auto done = co_await handshake(connection, from, known); !done)
      co_return refuse(from, done.error());
    if (known_.size() < 4096) known_.insert(from);
    const auto member = enter(connection);
    const std::shared_ptr<void> left(nullptr, [&](void*) {
      connection->close();
      member->connections.remove(connection);
    });
    // A member has one large message under way, on its newest connection: it does not
    // send two at a time, and each takes up to 256 MiB here.
    const std::function<void()> close_others = [member, current = connection.get()] {
      for (const auto& other : member->connections) {
        if (other.get() != current && other->receives_large()) other->close();
      }
    };
    for (;;) {
      while ((member->unanswered >= kMaxRequests || connection->unsent() >= kMaxUnread) &&
             connection->open()) {
        asio::steady_timer pause(io_, milliseconds(5));
        boost::system::error_code ignored;
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      }
      auto frame = co_await connection->receive(close_others);
      if (!frame || frame->response) break;
      spawn(io_, "respond", respond(member, connection, std::move(*frame)), OnException::EndTask);
    }
  }

  // The connections and unanswered requests of a member that calls us.
  struct Caller {
    std::list<std::shared_ptr<ControlConnection>> connections;
    std::size_t unanswered = 0;
  };

  // Registers a connection of a member. Keeps the latest kMaxConnectionsPerHost: these
  // are the ones that the member uses.
  std::shared_ptr<Caller> enter(const std::shared_ptr<ControlConnection>& connection) {
    std::erase_if(callers_, [&](const auto& each) {
      return each.second->connections.empty() && each.second->unanswered == 0;
    });
    auto& caller = callers_[connection->remote_host().host];
    if (!caller) caller = std::make_shared<Caller>();
    caller->connections.push_back(connection);
    if (caller->connections.size() > kMaxConnectionsPerHost) {
      caller->connections.front()->close();
      caller->connections.pop_front();
    }
    return caller;
  }

  asio::awaitable<void> respond(std::shared_ptr<Caller> member,
                                std::shared_ptr<ControlConnection> connection, Frame frame) {
    ++member->unanswered;
    const std::shared_ptr<void> answered(nullptr, [&](void*) { --member->unanswered; });
    Secret answer = co_await handler_(connection->remote_host(), std::move(frame.message));
    if (connection->open()) connection->send(pack(frame.correlation, true, std::move(answer)));
  }

  asio::awaitable<void> recheck() {
    for (asio::steady_timer timer(io_);;) {
      timer.expires_after(kRecheck);
      boost::system::error_code error;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return;
      const auto credentials = identity_.now();
      for (const auto& [host, outgoing] : outgoing_)
        outgoing->connection->check(credentials);
      for (const auto& [host, caller] : callers_) {
        for (const auto& connection : caller->connections)
          connection->check(credentials);
      }
    }
  }

  asio::io_context& io_;
  tcp::acceptor acceptor_;
  const Identity identity_;
  const SocketAddress listen_;
  Handler handler_;
  std::shared_ptr<Contexts> contexts_;
  std::function<bool(const IpAddress&)> is_member_;
  std::map<std::string, std::shared_ptr<Outgoing>> outgoing_;
  std::map<std::string, std::shared_ptr<Caller>> callers_;  // by host
  std::uint64_t last_correlation_ = 0;
  struct UnauthenticatedConnections {
    std::map<IpAddress, std::size_t> at;
    std::size_t all = 0, unknown = 0;
  };
  // Counts of handshakes under way.
  std::shared_ptr<UnauthenticatedConnections> unauthenticated_ =
      std::make_shared<UnauthenticatedConnections>();
  std::set<IpAddress> known_;   // addresses that members have called from
  RateBySource rate_{50, 100};  // handshakes, about 200 microseconds each
  RareLog refusals_;
};

}  // namespace

Result<std::unique_ptr<ControlChannel>> ControlChannel::open(asio::io_context& io,
                                                             const Identity& identity,
                                                             SocketAddress listen,
                                                             Handler handler) {
  auto transfer = std::make_unique<TlsControlChannel>(io, identity, listen, std::move(handler));
  TRY(transfer->start());
  return transfer;
}

}  // namespace sockmi::cluster
