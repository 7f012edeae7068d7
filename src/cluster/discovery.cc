// Implements discovery over UDP. Datagrams get lost: a request is repeated until the
// search's timeout, and a host that receives it twice answers twice. Answers carry the
// migration's id. A search ends when a host has reserved a slot, when the explicit target
// or all hosts that sent a datagram in the last 15 s have refused, or when the time is
// up.
#include "cluster/discovery.h"

#include <algorithm>
#include <map>

#include <boost/asio/ip/multicast.hpp>
#include <boost/asio/ip/udp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.h"
#include "base/spawn.h"
#include "cluster/datagram.h"
#include "cluster/hello.h"
#include "cluster/offer_datagrams.h"

namespace sockmi::cluster {
namespace {

using asio::ip::udp;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
constexpr std::size_t kMaxKnownHosts = 4096;

udp::endpoint to_udp(const SocketAddress& address) {
  if (address.ip.family == AF_INET6) {
    asio::ip::address_v6::bytes_type bytes;
    std::ranges::copy(address.ip.view(), bytes.begin());
    return {asio::ip::address_v6(bytes), address.port};
  }
  asio::ip::address_v4::bytes_type bytes;
  std::ranges::copy(address.ip.view(), bytes.begin());
  return {asio::ip::address_v4(bytes), address.port};
}

struct Answer {
  wire::DatagramT datagram;
  udp::endpoint from;
};

// One call of find() that is under way.
struct Search {
  explicit Search(const asio::any_io_executor& executor) : news(executor) {}
  asio::steady_timer news;  // cancelled when an answer comes
  std::vector<Answer> answers;
  bool request_answered_by(const std::string& host) const {
    return std::ranges::any_of(answers, [&](const Answer& answer) {
      return answer.datagram.sender == host && answer.datagram.kind == wire::Kind::Response;
    });
  }
};

class UdpDiscovery : public Discovery {
 public:
  UdpDiscovery(asio::io_context& io, const Identity& identity, DiscoveryConfig config,
               OfferHandler& importer)
      : io_(io),
        socket_(io),
        config_(std::move(config)),
        importer_(importer),
        datagrams_(identity, to_string(SocketAddress{config_.address, config_.control_port})) {}

  Result<> start() {
    boost::system::error_code error;
    const bool multicast = config_.hosts.empty();
    const auto own = to_udp({config_.address, config_.group.port});
    socket_.open(own.protocol(), error);
    if (!error) socket_.set_option(udp::socket::reuse_address(true), error);
    // A socket that is bound to one unicast address does not receive multicast.
    if (!error) socket_.bind(multicast ? udp::endpoint(own.protocol(), own.port()) : own, error);
    if (!error && multicast) {
      error = join();
      if (!error) socket_.set_option(asio::ip::multicast::enable_loopback(false), error);
    }
    if (error)
      return fail(error.value(), "discovery at {}: {}", to_string(config_.group), error.message());
    spawn(io_, "listen", listen());
    spawn(io_, "greet", send_hello());
    return {};
  }

  asio::awaitable<Result<SelectedHost>> find(Offer offer) override {
    auto search = std::make_shared<Search>(socket_.get_executor());
    searches_[offer.id] = search;
    auto found = co_await search_in(*search, offer);
    searches_.erase(offer.id);
    co_return found;
  }

  asio::awaitable<std::vector<HostAnswer>> survey(Offer offer) override {
    auto search = std::make_shared<Search>(socket_.get_executor());
    searches_[offer.id] = search;
    const auto end = Clock::now() + config_.timeout;
    for (auto now = Clock::now(); now < end && search->answers.size() < recent_peers();
         now = Clock::now()) {
      send_to_all(write_offer(wire::Kind::Request, offer));
      const auto again = std::min(end, now + config_.timeout / 4);
      while (Clock::now() < again && search->answers.size() < recent_peers()) {
        search->news.expires_at(again);
        boost::system::error_code ignored;
        co_await search->news.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      }
    }
    searches_.erase(offer.id);
    std::vector<HostAnswer> out;
    for (const Answer& answer : search->answers)
      if (auto read = read_response(answer.datagram)) out.push_back(std::move(*read));
    co_return out;
  }

  void set_draining(bool draining) override {
    draining_ = draining;
    send_to_all({});
  }

  std::vector<std::string> warnings() const override { return datagrams_.warnings(); }

  void addresses_changed(const IpAddress& other_address) override {
    config_.other_address = other_address;
    if (config_.hosts.empty()) {
      if (const auto error = join(); error && error != asio::error::address_in_use) {
        log::warn("multicast_join_failed",
                  {{"address", config_.group}, {"error", error.message()}});
      }
    }
    send_to_all({});
  }

  std::vector<HostInfo> hosts() const override {
    std::vector<HostInfo> out;
    out.reserve(hosts_.size());
    for (const auto& [host, known] : hosts_) {
      out.push_back({host, known.control_address, known.other_address,
                     std::chrono::duration_cast<milliseconds>(Clock::now() - known.heard).count()});
      out.back().draining = known.draining;
    }
    return out;
  }

 private:
  // Joins the multicast group on the interface that has our address. The socket may have
  // joined already (EADDRINUSE).
  boost::system::error_code join() {
    const auto group = to_udp(config_.group).address().to_v4(),
               own = to_udp({config_.address, 0}).address().to_v4();
    boost::system::error_code error, joined;
    socket_.set_option(asio::ip::multicast::join_group(group, own), joined);
    socket_.set_option(asio::ip::multicast::outbound_interface(own), error);
    return joined ? joined : error;
  }

  struct KnownHost {
    SocketAddress control_address;
    IpAddress other_address;
    Clock::time_point heard;
    std::uint64_t epoch;
    // Time of its latest datagram, by its own clock. Older datagrams change nothing here.
    std::int64_t sent_ms;
    bool draining;
  };

  asio::awaitable<Result<SelectedHost>> search_in(Search& search, const Offer& offer) {
    const auto start = Clock::now(), end = start + config_.timeout;
    std::set<std::string> asked;  // hosts that were sent a CONFIRM
    Result<SelectedHost> refusal =
        fail(EHOSTUNREACH, "{} answered within {} ms",
             offer.target.any() ? "no host" : to_string(offer.target) + " has not",
             config_.timeout.count());
    int requests = 0;
    for (auto now = start; now < end; now = Clock::now()) {
      if (now >= start + requests * config_.timeout / 4) {
        send_to_all(write_offer(wire::Kind::Request, offer));
        ++requests;
      }
      if (const Answer* best = choose(search, asked, now - start)) {
        asked.insert(best->datagram.sender);
        const Answer chosen = *best;
        auto confirmed = co_await confirm(search, offer, chosen, end);
        if (confirmed || !offer.target.any()) co_return confirmed;
        refusal = std::move(confirmed);
        continue;
      }
      std::size_t refused = 0;
      for (const Answer& answer : search.answers) {
        if (answer.datagram.kind != wire::Kind::Response || answer.datagram.error == 0) continue;
        ++refused;
        refusal = std::unexpected(
            Error{answer.datagram.error, answer.datagram.sender + ": " + answer.datagram.reason});
      }
      if (refused > 0 && (!offer.target.any() || refused + asked.size() >= recent_peers())) break;
      search.news.expires_at(std::min(end, start + requests * config_.timeout / 4));
      boost::system::error_code ignored;
      co_await search.news.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    co_return refusal;
  }

  // Returns the answer of the host to ask next, or null if a better one may still come.
  const Answer* choose(const Search& search, const std::set<std::string>& asked,
                       Clock::duration passed) const {
    std::vector<const Answer*> accepting;
    for (const Answer& answer : search.answers) {
      if (answer.datagram.kind == wire::Kind::Response && answer.datagram.error == 0 &&
          !asked.contains(answer.datagram.sender))
        accepting.push_back(&answer);
    }
    if (accepting.empty()) return nullptr;
    if (config_.preference == Preference::first) return accepting.front();
    const bool gathered = passed >= config_.timeout / 5 || search.answers.size() >= recent_peers();
    if (config_.preference == Preference::ready_first) {
      const auto ready = std::ranges::find_if(
          accepting, [](const Answer* answer) { return answer->datagram.waiting > 0; });
      if (ready != accepting.end()) return *ready;
      return gathered ? accepting.front() : nullptr;
    }
    if (!gathered) return nullptr;
    return *std::ranges::min_element(accepting, {},
                                     [](const Answer* answer) { return answer->datagram.load; });
  }

  asio::awaitable<Result<SelectedHost>> confirm(Search& search, const Offer& offer,
                                                const Answer& chosen, Clock::time_point end) {
    const auto control_address = SocketAddress::parse(chosen.datagram.control_address);
    if (!control_address) co_return std::unexpected(control_address.error());
    for (auto now = Clock::now(); now < end; now = Clock::now()) {
      auto datagram = write_offer(wire::Kind::Confirm, offer);
      datagram.to = chosen.datagram.sender;
      datagram.to_epoch = chosen.datagram.epoch;
      send(std::move(datagram), chosen.from);
      const auto again = std::min(end, now + config_.timeout / 4);
      while (Clock::now() < again) {
        const auto it = std::ranges::find_if(search.answers, [&](const Answer& answer) {
          return answer.datagram.kind == wire::Kind::Confirmed &&
                 answer.datagram.sender == chosen.datagram.sender;
        });
        if (it != search.answers.end()) {
          if (it->datagram.error != 0)
            co_return fail(it->datagram.error, "{}: {}", it->datagram.sender, it->datagram.reason);
          co_return SelectedHost{chosen.datagram.sender, *control_address,
                                 other_address(chosen.datagram)};
        }
        search.news.expires_at(again);
        boost::system::error_code ignored;
        co_await search.news.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      }
    }
    co_return fail(EHOSTUNREACH, "{} accepted the offer but did not confirm the reservation",
                   chosen.datagram.sender);
  }

  std::size_t recent_peers() const {
    return std::ranges::count_if(
        hosts_, [](const auto& each) { return Clock::now() - each.second.heard < kHelloTimeout; });
  }

  asio::awaitable<void> listen() {
    for (;;) {
      std::uint8_t bytes[2048];
      udp::endpoint from;
      boost::system::error_code error;
      const std::size_t size = co_await socket_.async_receive_from(
          asio::buffer(bytes), from, asio::redirect_error(asio::use_awaitable, error));
      if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor)
        co_return;
      if (error) continue;  // an ICMP error for a datagram that we sent
      auto datagram = datagrams_.open({bytes, size}, SocketAddress::from(from.data()).ip);
      if (datagram) {
        receive_datagrams(std::move(*datagram), from);
      } else {
        report(datagram.error(), from);
      }
    }
  }

  // Logs a refused datagram. EACCES means a member with an invalid certificate, which an
  // administrator must solve, so it is logged as a warning. Other refused datagrams can
  // come from anywhere.
  void report(const Error& error, const udp::endpoint& from) {
    // The latter two are in warnings().
    if (error.code == EALREADY || error.code == ESTALE || error.code == EPROTONOSUPPORT) return;
    const long suppressed = error.code == EACCES ? refusals_.take() : -1;
    if (suppressed >= 0) {
      log::warn(
          "datagram_refused",
          {{"address", from.address().to_string()}, {"error", error}, {"suppressed", suppressed}});
    } else {
      log::debug("datagram_dropped", {{"address", from.address().to_string()}, {"error", error}});
    }
  }

  // If the table is full, removes the host that has been silent for longest.
  void make_room() {
    if (hosts_.size() >= kMaxKnownHosts) {
      hosts_.erase(
          std::ranges::min_element(hosts_, {}, [](const auto& each) { return each.second.heard; }));
    }
  }

  void receive_datagrams(wire::DatagramT datagram, const udp::endpoint& from) {
    const auto known = hosts_.find(datagram.sender);
    if (const auto control_address = SocketAddress::parse(datagram.control_address);
        control_address && (known == hosts_.end() || datagram.time_ms >= known->second.sent_ms)) {
      const bool started = known == hosts_.end() || known->second.epoch != datagram.epoch;
      if (known == hosts_.end()) make_room();
      hosts_[datagram.sender] = {*control_address, other_address(datagram), Clock::now(),
                                 datagram.epoch,   datagram.time_ms,        datagram.draining};
      if (started) {
        wire::DatagramT hello;
        hello.to = datagram.sender;
        send(std::move(hello), from);  // so that it knows us as soon as we know it
        config_.on_start(datagram.sender, *control_address);
      }
    }
    switch (datagram.kind) {
      case wire::Kind::Hello: return;
      case wire::Kind::Request: return answer(datagram, from, wire::Kind::Response);
      case wire::Kind::Confirm: return answer(datagram, from, wire::Kind::Confirmed);
      case wire::Kind::Response:
      case wire::Kind::Confirmed: break;
    }
    MigrationId id{};
    if (datagram.id.size() != id.size()) return;
    std::ranges::copy(datagram.id, id.begin());
    const auto it = searches_.find(id);
    if (it == searches_.end() || it->second->answers.size() > 1024) return;
    if (datagram.kind == wire::Kind::Response && it->second->request_answered_by(datagram.sender))
      return;
    it->second->answers.push_back({std::move(datagram), from});
    it->second->news.cancel();
  }

  void answer(const wire::DatagramT& datagram, const udp::endpoint& from, wire::Kind kind) {
    const auto offer = read_offer(datagram);
    if (!offer || (!offer->target.any() && offer->target != config_.address)) return;
    wire::DatagramT out;
    out.kind = kind;
    out.id = datagram.id;
    out.to = datagram.sender;
    Result<> verdict;
    if (kind == wire::Kind::Response) {
      const auto reply = importer_.can_accept(*offer);
      if (reply) {
        out.waiting = reply->waiting_importers;
        out.free = reply->free_slots;
        out.load = reply->load_percent;
      } else {
        verdict = std::unexpected(reply.error());
      }
    } else {
      verdict = importer_.reserve(datagram.sender, *offer);
    }
    if (!verdict) {
      out.error = verdict.error().code;
      out.reason = verdict.error().reason;
    }
    send(std::move(out), from);
  }

  void send(wire::DatagramT datagram, const udp::endpoint& to) {
    if (!config_.other_address.any()) datagram.other_address = to_string(config_.other_address);
    datagram.draining = draining_;
    const Bytes bytes = datagrams_.seal(std::move(datagram));
    boost::system::error_code error;
    // A send error counts as packet loss.
    socket_.send_to(asio::buffer(bytes), to, 0, error);
  }

  void send_to_all(const wire::DatagramT& datagram) {
    if (config_.hosts.empty()) send(datagram, to_udp(config_.group));
    for (const auto& host : config_.hosts)
      send(datagram, to_udp(host));
  }

  asio::awaitable<void> send_hello() {
    for (asio::steady_timer timer(io_);;) {
      send_to_all({});
      timer.expires_after(kHelloInterval);
      boost::system::error_code error;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return;
    }
  }

  asio::io_context& io_;
  udp::socket socket_;
  DiscoveryConfig config_;
  OfferHandler& importer_;
  Datagrams datagrams_;
  std::map<std::string, KnownHost> hosts_;
  bool draining_ = false;
  RareLog refusals_;
  std::map<MigrationId, std::shared_ptr<Search>> searches_;
};

}  // namespace

Result<HostInfo> Discovery::find_host(const std::string& name_or_address) const {
  // A host may have a name that is another host's address.
  std::vector<HostInfo> all = hosts();
  for (HostInfo& each : all)
    if (each.host == name_or_address) return std::move(each);
  for (HostInfo& each : all)
    if (to_string(each.control_address.ip) == name_or_address) return std::move(each);
  return fail(EHOSTUNREACH, "host '{}' is not known here", name_or_address);
}

Result<std::unique_ptr<Discovery>> Discovery::open(asio::io_context& io, const Identity& identity,
                                                   DiscoveryConfig config, OfferHandler& importer) {
  auto discovery = std::make_unique<UdpDiscovery>(io, identity, std::move(config), importer);
  TRY(discovery->start());
  return discovery;
}

}  // namespace sockmi::cluster
