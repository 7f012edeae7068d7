#include "takeover/takeover.h"

#include <linux/if.h>
#include <net/if.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <fstream>
#include <set>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <fmt/ranges.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/spawn.h"
#include "connections/lifecycle.h"
#include "connections/redirects.h"
#include "context/async_event.h"
#include "net/neighbor.h"
#include "steer/syn_filter.h"
#include "wire/flatbuffer.h"

namespace sockmi::daemon {
namespace {

using net::HostAddress;
using std::chrono::seconds;

// Timed by the kernel. Longer than everything that follows, so that it decides only if
// the daemon is dead.
constexpr seconds kHoldLifetime{20};
// For the new holder to answer a message; later answers are ignored.
constexpr milliseconds kHoldReplyTimeout{2000};
constexpr milliseconds kInDoubtAfter{5000};  // doubt begins this long after Hold or the first Keep
constexpr milliseconds kProbePause{700};     // between the three requests of a probe
// After a Hold: clients wait, and the kernel of a host that has the address answers
// immediately.
constexpr milliseconds kQuickProbe{100};
constexpr milliseconds kStallTimeout{3000};  // after this, what is left will not move
// For the applications, each time they are asked. The next time, an application that
// needed longer is not waited for.
constexpr milliseconds kExport{10000};
constexpr seconds kSynFilterLifetime{90};
// Between two probes for other hosts that have what we took over.
constexpr seconds kLook{10};
constexpr std::size_t kMostAtOnce = 64;  // addresses that others are handing over to us
const User kRoot{0, "root"};
constexpr milliseconds kAnnouncements[] = {milliseconds(0), milliseconds(100), milliseconds(400),
                                           milliseconds(1000), milliseconds(2000)};

std::string interface_name(unsigned index) {
  char name[IF_NAMESIZE] = "?";
  return ::if_indextoname(index, name) ? name : "?";
}

asio::awaitable<void> wait_for_answer(asio::posix::stream_descriptor& descriptor,
                                      net::Probe& probe) {
  while (!probe.heard())
    co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
}

// True if another host has the address.
asio::awaitable<Result<bool>> answered(HostAddress address, int times = 3,
                                       milliseconds pause = kProbePause) {
  using namespace boost::asio::experimental::awaitable_operators;
  CO_TRY_LET(probe, net::Probe::open(address.ip, address.interface));
  asio::posix::stream_descriptor descriptor(co_await asio::this_coro::executor, ::dup(probe.fd()));
  for (int i = 0; i < times; ++i) {
    CO_TRY(probe.ask());
    if ((co_await (wait_for_answer(descriptor, probe) || sleep_for(pause))).index() == 0)
      co_return true;
  }
  co_return false;
}

std::string doubled(const IpAddress& address) {
  return fmt::format(
      "{}, which was taken over, is an address of another host, too: remove it from one of the two",
      to_string(address));
}

Result<cluster::HostInfo> find_host(World& world, const std::string& name) {
  for (const auto& peer : world.discovery->hosts())
    if (peer.host == name || to_string(peer.line.ip) == name) return peer;
  return fail(EHOSTUNREACH, "host '{}' is not known here", name);
}

std::string some(const std::vector<net::TcpSocket>& connections) {
  std::string out;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, connections.size()); ++i)
    out += (i ? ", " : "") + to_string(connections[i].tuple);
  return connections.size() > 3 ? out + ", ..." : out;
}

// Connections imported from the old holder are at home here from now on.
void adopt_connections(World& world, const std::string& from, const IpAddress& address) {
  for (const auto& [cookie, resident] : world.residents)
    if (resident.tuple.local.ip.unmapped() == address && resident.home == from)
      rehome(world, cookie);
}

// Removes the records of the address's connections, which are the new holder's now. The
// redirects stay a little longer, for hosts that still send packets to us.
void disown(World& world, const IpAddress& address) {
  for (auto it = world.away.begin(); it != world.away.end();) {
    if (it->first.local.ip.unmapped() != address) {
      ++it;
      continue;
    }
    (void)redirect(world, it->first, it->second, std::max(world.settings.linger, milliseconds(1)));
    world.journal.is_back(it->first);
    it = world.away.erase(it);
  }
}

}  // namespace

// A neighbour that missed the announcement of one second receives that of the next.
asio::awaitable<void> announce(HostAddress address) {
  for (const auto pause : kAnnouncements) {
    co_await sleep_for(pause);
    if (auto told = net::announce(address.ip, address.interface); !told)
      log::error("event=announce_failed address={} error=\"{}\"", to_string(address.ip),
                 to_string(told.error()));
  }
}

// --- the old holder ---

asio::awaitable<Result<TakeoverOutcome>> Takeovers::give(IpAddress address, std::string to,
                                                         bool force) {
  CO_TRY_LET(here, ours(address));
  CO_TRY_LET(host, find_host(world_, to));
  if (*giving_) co_return fail(EBUSY, "another takeover is under way");
  *giving_ = true;
  const std::shared_ptr<void> done(nullptr, [giving = giving_](void*) { *giving = false; });
  // Only the new holder itself can become the home of a connection.
  for (const auto& [tuple, away] : world_.away)
    if (tuple.local.ip.unmapped() == address && away.host != host.host)
      co_return fail(EBUSY, "{} lives on {}: move it to {} first", to_string(tuple), away.host,
                     host.host);
  CO_TRY(co_await say(host, wire::TakeOverStep::Ask, here));
  auto outcome = co_await move_connections(address, host, force);
  log::info("event=takeover address={} to={} moved={} lost={} error=\"{}\"", to_string(address),
            host.host, outcome ? outcome->moved : 0, outcome ? outcome->lost.size() : 0,
            outcome ? "" : to_string(outcome.error()));
  co_return outcome;
}

Result<HostAddress> Takeovers::ours(const IpAddress& address) const {
  if (address == world_.settings.address)
    return fail(EINVAL, "{} is this daemon's own address: only a service address can be taken over",
                to_string(address));
  TRY_LET(all, net::host_addresses());
  const auto it = std::ranges::find(all, address, &HostAddress::ip);
  if (it == all.end())
    return fail(EADDRNOTAVAIL, "{} is not an address of this host", to_string(address));
  const std::string interface = interface_name(it->interface);
  if (std::ranges::find(world_.settings.interfaces, interface) == world_.settings.interfaces.end())
    return fail(EINVAL, "{} is on {}, which is not among 'interfaces'", to_string(address),
                interface);
  if (it->secondary || address.family != AF_INET) return *it;
  const auto goes_along = [&](const HostAddress& other) {
    return other.secondary && other.interface == it->interface && other.prefix == it->prefix &&
           other.ip.in_prefix(it->ip, it->prefix);
  };
  std::ifstream setting("/proc/sys/net/ipv4/conf/" + interface + "/promote_secondaries");
  int promote = 0;
  setting >> promote;
  if (promote == 0 && std::ranges::any_of(all, goes_along))
    return fail(ENOTSUP,
                "{} is the primary address of its subnet on {}: the others would go with it (set "
                "net.ipv4.conf.{}.promote_secondaries)",
                to_string(address), interface, interface);
  return *it;
}

asio::awaitable<Result<TakeoverOutcome>> Takeovers::move_connections(IpAddress address,
                                                                     cluster::HostInfo to,
                                                                     bool force) {
  TakeoverOutcome outcome{.host = to.host};
  CO_TRY_LET(here, ours(address));
  std::optional<steer::SynFilter> door;
  std::size_t before = 0;  // number of connections that were left the last time
  // In the first pass new connections are accepted: most connections move while new ones
  // are still served.
  milliseconds pause{20};
  for (auto give_up = Clock::time_point::max();; pause = std::min(2 * pause, milliseconds(320))) {
    ExportRequest wish{.request = 0,
                       .local = {address, unsigned(address.size() * 8), 0},
                       .remote = {},
                       .to = to.line.ip};
    unsigned failed = 0;
    std::set<std::string> silent;  // users of applications that do not answer
    for (const std::string& service : requests_.services()) {
      const auto answer = co_await requests_.ask(service, wish, kRoot, kExport);
      outcome.moved += answer.exported;
      failed += answer.failed;  // among them closing ones, which end by themselves
      // Their connections, if at this address, are among those that are left.
      for (const std::string& user : answer.silent)
        silent.insert(user);
    }
    CO_TRY_LET(left, net::connections_at(address));
    if (left.empty() && door) break;
    if (!door || left.size() < before)
      give_up = Clock::now() + kStallTimeout, pause = milliseconds(20);
    before = left.size();
    if (!door) {
      CO_TRY_LET(closed, steer::SynFilter::close(address, kSynFilterLifetime));
      door.emplace(std::move(closed));
      continue;
    }
    if (Clock::now() > give_up) {
      if (!force)
        co_return fail(EBUSY,
                       "{} connections are left, of which {} could not be exported, and no "
                       "application exports the others{}: {}",
                       left.size(), failed,
                       silent.empty() ? ""
                                      : fmt::format(" (no answer from applications of {})",
                                                    fmt::join(silent, ", ")),
                       some(left));
      for (const auto& each : left)
        outcome.lost.push_back(each.tuple);
      break;
    }
    // Handshakes complete and closing connections end, without a notification.
    co_await sleep_for(pause);
  }
  CO_TRY(co_await hand_over_address(here, to));
  co_return outcome;
}

asio::awaitable<Result<>> Takeovers::hand_over_address(HostAddress address, cluster::HostInfo to) {
  // Until then, an answer to a probe may come from the kernel of a host whose daemon is dead,
  // and which loses the address when the Hold expires.
  const auto hold_ends = Clock::now() + kHoldReplyTimeout + kHoldLifetime;
  auto held = co_await say(to, wire::TakeOverStep::Hold, address);
  if (held) held = fault::point("takeover-remove");
  const auto taken = taken_over_.extract(address.ip);  // put_back() does not add it again now
  if (held) held = net::remove_address(address);
  if (!held) {
    if (taken) taken_over_[address.ip] = taken.mapped();
    // If this is lost, the other host probes, and gets an answer from us.
    (void)co_await say(to, wire::TakeOverStep::Drop, address);
    co_return held;
  }
  // *Decided.* The connections live there, and the address is removed from here.
  Result<> kept;
  bool elsewhere = false;
  const auto doubt = Clock::now() + kInDoubtAfter;
  for (bool final = false; !final;) {
    kept = fault::point("takeover-keep");
    if (kept) kept = co_await say(to, wire::TakeOverStep::Keep, address);
    if (kept) break;
    if (kept.error().code == EAGAIN) {  // the other host probes the link
      co_await sleep_for(kQuickProbe / 2);
      if (Clock::now() < doubt) continue;
    }
    log::warn("event=takeover_doubt address={} host={} error=\"{}\"", to_string(address.ip),
              to.host, to_string(kept.error()));
    if (Clock::now() > doubt) {
      const bool held_by_daemon = Clock::now() > hold_ends;
      const auto heard = co_await answered(address);
      elsewhere = heard && *heard;
      final = heard && (!elsewhere || held_by_daemon);
    }
    co_await sleep_for(milliseconds(200));
  }
  if (!kept && !elsewhere) {
    CO_TRY(net::add_address(address, std::nullopt));
    if (taken) taken_over_[address.ip] = taken.mapped();
    spawn(world_.io, "announce", announce(address));
    co_return kept;
  }
  if (taken) world_.journal.gave_away(address.ip);
  kept_.erase(address.ip);
  disown(world_, address.ip);
  co_return Result<>();
}

asio::awaitable<Result<>> Takeovers::say(const cluster::HostInfo& to, wire::TakeOverStep step,
                                         const HostAddress& address) {
  auto reply = co_await world_.control->call(
      to.host, to.line, wire::pack_take_over(step, address.ip, address.prefix, address.deprecated),
      kHoldReplyTimeout);
  if (!reply) co_return pass(std::move(reply));
  CO_TRY(wire::read_answer(*reply));
  co_return Result<>();
}

// --- the new holder ---

bool Takeovers::may_be_brought(const IpAddress& address) const {
  return std::ranges::any_of(world_.settings.takeover, [&](const Match& allowed) {
    return !allowed.ip.any() && allowed.fits({address, 0});
  });
}

void Takeovers::adopt() {
  for (const TakenOver& address : world_.journal.taken_over()) {
    if (!may_be_brought(address.ip)) {
      world_.journal.gave_away(address.ip);
      log::warn(
          "event=address_left address={} reason=\"it is not among takeover.addresses any more\"",
          to_string(address.ip));
      continue;
    }
    taken_over_[address.ip] = address;
    kept_[address.ip] = {address.from};
  }
}

Result<> Takeovers::told(const std::string& from, const wire::TakeOver& message) {
  TRY_LET(address, IpAddress::parse(wire::string(message.address())));
  const auto held = held_.find(address);
  if (held != held_.end() && held->second.from != from)
    return fail(EACCES, "{} holds it for {}", world_.settings.host, held->second.from);
  if (message.step() == wire::TakeOverStep::Drop)
    return held == held_.end() ? Result<>() : drop(address);
  TRY_LET(place, place_for(message));
  if (message.step() == wire::TakeOverStep::Hold) return hold(from, place);
  if (message.step() == wire::TakeOverStep::Keep)
    return keep_after_a_probe(from, place, held != held_.end());
  return {};
}

Result<HostAddress> Takeovers::place_for(const wire::TakeOver& message) const {
  TRY_LET(ip, IpAddress::parse(wire::string(message.address())));
  if (ip == world_.settings.address)
    return fail(EINVAL, "{} is {}'s own address", to_string(ip), world_.settings.host);
  if (!may_be_brought(ip))
    return fail(EACCES, "{} is not among takeover.addresses of {}", to_string(ip),
                world_.settings.host);
  TRY_LET(all, net::host_addresses());
  const bool here = std::ranges::find(all, ip, &HostAddress::ip) != all.end();
  if (here && !held_.contains(ip) && message.step() != wire::TakeOverStep::Keep)
    return fail(EEXIST, "{} is an address of {} already", to_string(ip), world_.settings.host);
  for (const HostAddress& each : all) {
    const bool steered =
        std::ranges::find(world_.settings.interfaces, interface_name(each.interface)) !=
        world_.settings.interfaces.end();
    if (each.ip == ip || !steered || each.ip.family != ip.family ||
        !ip.in_prefix(each.ip, each.prefix))
      continue;
    // The prefix is that of the interface's subnet, or of a part of it.
    if (message.prefix() < each.prefix || message.prefix() > ip.size() * 8) continue;
    return HostAddress{.ip = ip,
                       .prefix = message.prefix(),
                       .interface = each.interface,
                       .deprecated = message.deprecated()};
  }
  return fail(EADDRNOTAVAIL, "{} has no interface on the subnet of {}/{}", world_.settings.host,
              to_string(ip), message.prefix());
}

Result<> Takeovers::hold(const std::string& from, const HostAddress& address) {
  TRY(fault::point("takeover-hold"));
  if (held_.size() >= kMostAtOnce && !held_.contains(address.ip))
    return fail(EBUSY, "{} addresses are being taken over", held_.size());
  TRY(net::add_address(address, kHoldLifetime));
  kept_.erase(address.ip);  // another Keep has to follow
  held_[address.ip] = {address, from, ++attempts_};
  spawn(world_.io, "resolve_doubt", resolve_in_doubt(address.ip, attempts_));
  return {};
}

Result<> Takeovers::keep(const std::string& from, const HostAddress& address) {
  TRY(net::add_address(address, std::nullopt));
  held_.erase(address.ip);
  kept_[address.ip] = {from};
  const TakenOver taken{address.ip, address.prefix, interface_name(address.interface), from,
                        address.deprecated};
  taken_over_[address.ip] = taken;
  world_.journal.took_over(taken);
  adopt_connections(world_, from, address.ip);
  spawn(world_.io, "announce", announce(address));
  log::info("event=taken_over address={} interface={}", to_string(address.ip),
            interface_name(address.interface));
  return {};
}

// A probe of the link shows whether another host has the address: the former holder
// removes it before it sends Keep. The probe is more thorough if we have no record of a
// Hold (the Keep is a repetition, or we were restarted in between, or its sender does not
// hold the address).
Result<> Takeovers::keep_after_a_probe(const std::string& from, const HostAddress& address,
                                       bool held) {
  TRY_LET(all, net::host_addresses());
  const auto ours = std::ranges::find(all, address.ip, &HostAddress::ip);
  if (const auto before = kept_.find(address.ip);
      before != kept_.end() && before->second.from == from && ours != all.end())
    return {};
  std::erase_if(probes_, [](const auto& each) {
    return each.second && Clock::now() > each.second->ended + kInDoubtAfter;
  });
  if (probes_.size() >= kMostAtOnce && !probes_.contains(address.ip))
    return fail(EBUSY, "{} addresses are being taken over", probes_.size());
  const auto [it, first] = probes_.try_emplace(address.ip);
  if (first) {
    spawn(world_.io, "probe", probe(address, held));
    return fail(EAGAIN, "{} asks first whether anybody has {}", world_.settings.host,
                to_string(address.ip));
  }
  if (!it->second)
    return fail(EAGAIN, "{} asks first whether anybody has {}", world_.settings.host,
                to_string(address.ip));
  const Probe probed = std::move(*it->second);
  probes_.erase(it);
  if (!probed.elsewhere) return std::unexpected(probed.elsewhere.error());
  if (*probed.elsewhere) return fail(EEXIST, "another host has {}", to_string(address.ip));
  return keep(from, address);
}

asio::awaitable<void> Takeovers::probe(HostAddress address, bool held) {
  const int times = held ? 1 : 3;
  const milliseconds pause = held ? kQuickProbe : kProbePause;
  auto elsewhere = co_await answered(address, times, pause);
  probes_[address.ip] = Probe{Clock::now(), std::move(elsewhere)};
}

asio::awaitable<void> Takeovers::watch_kept() {
  for (;;) {
    co_await sleep_for(kLook);
    std::vector<IpAddress> those;
    for (const auto& [address, kept] : kept_)
      those.push_back(address);
    for (const IpAddress& address : those)
      co_await look_for_others(address);
    // What could not be added again before.
    if (const auto all = net::host_addresses()) put_back(*all);
  }
}

asio::awaitable<void> Takeovers::look_for_others(IpAddress address) {
  const auto all = net::host_addresses();
  if (!all) co_return;
  const auto here = std::ranges::find(*all, address, &HostAddress::ip);
  if (here == all->end()) {
    kept_.erase(address);  // it was handed on
    co_return;
  }
  const HostAddress place = *here;
  const auto elsewhere = co_await answered(place);
  const auto kept = kept_.find(address);
  if (!elsewhere || kept == kept_.end() || kept->second.doubled == *elsewhere) co_return;
  kept->second.doubled = *elsewhere;
  if (*elsewhere)
    log::error("event=address_doubled warning=\"{}\"", doubled(address));
  else
    log::info("event=address_is_ours_alone address={}", to_string(address));
}

std::vector<std::string> Takeovers::warnings() const {
  std::vector<std::string> out;
  for (const auto& [address, kept] : kept_)
    if (kept.doubled) out.push_back(doubled(address));
  return out;
}

Result<> Takeovers::drop(const IpAddress& address) {
  const Held held = held_.at(address);
  held_.erase(address);
  return net::remove_address(held.address);
}

void Takeovers::put_back(const std::vector<HostAddress>& all) {
  for (const auto& [ip, address] : taken_over_)
    if (std::ranges::find(all, ip, &HostAddress::ip) == all.end() && missing_.insert(ip).second)
      spawn(world_.io, "put_back", put_back(address));
}

asio::awaitable<void> Takeovers::put_back(TakenOver taken) {
  const HostAddress address{.ip = taken.ip,
                            .prefix = taken.prefix,
                            .interface = ::if_nametoindex(taken.interface.c_str()),
                            .deprecated = taken.deprecated};
  const auto elsewhere = co_await answered(address, 3, kQuickProbe);
  missing_.erase(taken.ip);
  const auto it = taken_over_.find(taken.ip);
  if (it == taken_over_.end()) co_return;  // it was given away meanwhile
  if (elsewhere && *elsewhere) {
    taken_over_.erase(it);
    kept_.erase(taken.ip);
    world_.journal.gave_away(taken.ip);
    log::warn(
        "event=address_lost address={} reason=\"it is not here any more, and another host has it\"",
        to_string(taken.ip));
    co_return;
  }
  const auto added =
      elsewhere ? net::add_address(address, std::nullopt) : std::unexpected(elsewhere.error());
  if (!added) {
    log::error("event=address_not_put_back address={} error=\"{}\"", to_string(taken.ip),
               to_string(added.error()));
    co_return;  // the next attempt follows
  }
  log::warn("event=address_put_back address={} reason=\"it was taken over, and not here any more\"",
            to_string(taken.ip));
  kept_[taken.ip] = {taken.from};
  co_await announce(address);
}

asio::awaitable<void> Takeovers::resolve_in_doubt(IpAddress address, std::uint64_t attempt) {
  co_await sleep_for(kInDoubtAfter);
  const auto in_doubt = [&] {
    return held_.contains(address) && held_.at(address).attempt == attempt;
  };
  if (!in_doubt()) co_return;
  const Held held = held_.at(address);
  const auto elsewhere = co_await answered(held.address);
  if (!in_doubt()) co_return;
  log::warn("event=takeover_doubt address={} elsewhere={}", to_string(address),
            elsewhere ? *elsewhere ? "yes" : "no" : to_string(elsewhere.error()));
  // If the probe fails, the kernel removes the address when the Hold expires: no holder
  // is better than two.
  if (!elsewhere)
    held_.erase(address);
  else if (auto done = *elsewhere ? drop(address) : keep(held.from, held.address); !done)
    log::error("event=takeover_doubt_left error=\"{}\"", to_string(done.error()));
}

}  // namespace sockmi::daemon
