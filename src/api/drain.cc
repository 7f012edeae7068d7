// Orders and shows the drain of this host.
#include <algorithm>
#include <cmath>

#include <nlohmann/json.hpp>

#include "api/json_body.h"
#include "api/router.h"
#include "base/boot_id.h"

namespace sockmi::api {
namespace {

using daemon::Drain;
using daemon::DrainOrder;
using daemon::WallTime;
using nlohmann::json;

// Rows of a list in one answer.
constexpr std::size_t kMostListed = 1000;
constexpr std::uint64_t kMostConnectionsListed = 4096;

std::int64_t unix_ms(WallTime time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
}

Result<> check_root(const Request& request) {
  if (request.user.is_root()) return {};
  return fail(EACCES, "only root may drain this host");
}

Result<DrainOrder> read_order(const JsonBody& body) {
  TRY_LET(services, body.texts("services"));
  TRY_LET(hosts, body.texts("to"));
  TRY_LET(rate, body.count("rate", 0));
  TRY_LET(deadline_s, body.count("deadline_s", 0));
  TRY_LET(for_reboot, body.flag("for_reboot", false));
  TRY_LET(on_stuck_name, body.text("on_stuck", "report"));
  TRY_LET(on_stuck, daemon::parse_on_stuck(on_stuck_name));
  DrainOrder order{.services = std::move(services),
                   .hosts = std::move(hosts),
                   .deadline = {},
                   .rate = rate,
                   .on_stuck = on_stuck,
                   .boot = {}};
  if (for_reboot) {
    order.boot = boot_id();
    if (order.boot.empty()) return fail(ENOTSUP, "the kernel does not name its boot");
  }
  if (deadline_s > 0)
    order.deadline = std::chrono::system_clock::now() + std::chrono::seconds(deadline_s);
  return order;
}

json view(const daemon::LocalConnection& connection) {
  return {{"local", to_string(connection.tuple.local)},
          {"peer", to_string(connection.tuple.remote)},
          {"service", connection.service.empty() ? json() : json(connection.service)},
          {"uid", connection.uid},
          {"inode", connection.inode}};
}

// The hosts that have taken connections, and those that may.
json hosts_of(const Drain& drain) {
  std::map<std::string, json> hosts;
  for (const auto& [service, spread] : drain.spreads()) {
    for (const auto& [name, host] : spread.hosts()) {
      const std::string& why = host.refusal.empty() ? host.failure : host.refusal;
      json& out = hosts[name];
      if (out.is_null()) out = {{"refusal", why}};
      // Willing for one service is willing.
      if (why.empty()) out["refusal"] = "";
    }
  }
  for (const auto& [name, moved] : drain.state().moved)
    hosts[name]["moved"] = moved;
  json out = json::array();
  for (auto& [name, host] : hosts) {
    out.push_back({{"host", name},
                   {"moved", host.value("moved", std::uint64_t{0})},
                   {"refusal", host.value("refusal", "")}});
  }
  return out;
}

json failures_of(const Drain& drain) {
  std::vector<std::pair<std::uint64_t, std::string>> most_first;
  for (const auto& [reason, count] : drain.state().failures)
    most_first.emplace_back(count, reason);
  std::ranges::sort(most_first, std::greater());
  json out = json::array();
  for (const auto& [count, reason] : most_first)
    out.push_back({{"reason", reason}, {"count", count}});
  return out;
}

// The connections that are left, and why; those that cannot move first.
json left_of(const Drain& drain) {
  json out = json::array();
  for (const auto fate : {Drain::Fate::Stays, Drain::Fate::Open, Drain::Fate::NotHeld}) {
    for (const auto& [cookie, tracked] : drain.tracked()) {
      if (tracked.fate != fate || out.size() >= kMostListed) continue;
      out.push_back(view(tracked.connection));
      out.back()["reason"] = tracked.reason;
      out.back()["held"] = fate != Drain::Fate::NotHeld;
    }
  }
  return out;
}

// The connections are shown to root alone.
json status_of(const Drain& drain, bool with_connections) {
  const daemon::DrainState& state = drain.state();
  const Drain::Progress now = drain.progress();
  json out{{"state", to_string(state.phase)},
           {"cordoned", state.cordoned()},
           {"warning", drain.warning()},
           {"reason", state.reason},
           {"services", state.order.services},
           {"to", state.order.hosts},
           {"rate", state.order.rate},
           {"on_stuck", to_string(state.order.on_stuck)},
           {"cut", state.cut},
           {"for_reboot", !state.order.boot.empty()},
           {"moved", state.total_moved()},
           {"open", now.open},
           {"stay", now.stay},
           {"not_held", now.not_held},
           {"per_second", std::round(now.per_second * 10) / 10},
           {"freeze_us",
            {{"count", now.freezes.count()},
             {"p50", now.freezes.percentile(0.5)},
             {"p99", now.freezes.percentile(0.99)}}},
           {"hosts", hosts_of(drain)},
           {"failures", failures_of(drain)}};
  out["eta_s"] =
      now.per_second > 0 ? json(std::ceil(static_cast<double>(now.open) / now.per_second)) : json();
  out["began_ms"] = state.cordoned() ? json(unix_ms(state.began)) : json();
  out["ended_ms"] = state.ended > state.began ? json(unix_ms(state.ended)) : json();
  out["deadline_ms"] = state.order.deadline ? json(unix_ms(*state.order.deadline)) : json();
  if (with_connections) out["left"] = left_of(drain);
  return out;
}

// Which hosts would take connections of which services, and which applications hold them.
asio::awaitable<json> plan_of(daemon::Daemon& daemon, DrainOrder order) {
  const auto spreads = co_await daemon.drain().survey(std::move(order));
  json out = json::array();
  for (const auto& [service, spread] : spreads) {
    json applications = json::array();
    for (const auto& each : daemon.export_requests().applications()) {
      if (each.service == service)
        applications.push_back({{"pid", each.process}, {"uid", each.user.uid}});
    }
    const auto shares = spread.shares(daemon::Clock::now());
    json hosts = json::array();
    for (const auto& [name, host] : spread.hosts()) {
      const auto share = shares.find(name);
      hosts.push_back({{"host", name},
                       {"share", share == shares.end() ? 0.0 : share->second},
                       {"free", host.free},
                       {"refusal", host.refusal}});
    }
    out.push_back({{"service", service},
                   {"applications", std::move(applications)},
                   {"hosts", std::move(hosts)}});
  }
  co_return out;
}

}  // namespace

asio::awaitable<Result<Response>> get_health(daemon::Daemon& daemon, Session&, Request&) {
  const bool stopping = daemon.services().stopping, cordoned = daemon.drain().is_cordoned();
  const char* status = stopping ? "stopping" : "ok";
  if (cordoned && !stopping) status = "cordoned";
  co_return json_response(stopping || cordoned ? 503 : 200, {{"status", status}});
}

asio::awaitable<Result<Response>> get_drain(daemon::Daemon& daemon, Session&, Request& request) {
  co_return json_response(200, status_of(daemon.drain(), request.user.is_root()));
}

asio::awaitable<Result<Response>> post_drain(daemon::Daemon& daemon, Session&, Request& request) {
  CO_TRY(check_root(request));
  CO_TRY_LET(body, JsonBody::parse(request.http.body()));
  CO_TRY_LET(order, read_order(body));
  CO_TRY_LET(dry_run, body.flag("dry_run", false));
  if (dry_run) {
    CO_TRY(daemon.drain().check(order));
    json services = co_await plan_of(daemon, std::move(order));
    co_return json_response(200, {{"services", std::move(services)}});
  }
  if (daemon.services().stopping) co_return fail(EHOSTDOWN, "sockmid is stopping");
  CO_TRY_LET(began, daemon.drain().start(std::move(order)));
  json out = status_of(daemon.drain(), true);
  out["attached"] = !began;
  co_return json_response(200, out);
}

asio::awaitable<Result<Response>> get_drain_connections(daemon::Daemon& daemon, Session&,
                                                        Request& request) {
  CO_TRY(check_root(request));
  CO_TRY_LET(offset, request.number("offset", 0));
  CO_TRY_LET(limit, request.number("limit", kMostConnectionsListed, kMostConnectionsListed));
  CO_TRY_LET(all, daemon::local_connections(daemon.connections(), daemon.import_queue()));
  json out = json::array();
  for (std::uint64_t i = offset; i < all.size() && i - offset < limit; ++i)
    out.push_back(view(all[i]));
  co_return json_response(200, {{"connections", std::move(out)}, {"total", all.size()}});
}

asio::awaitable<Result<Response>> post_drain_stop(daemon::Daemon& daemon, Session&,
                                                  Request& request) {
  CO_TRY(check_root(request));
  CO_TRY(daemon.drain().stop());
  co_return json_response(200, status_of(daemon.drain(), true));
}

asio::awaitable<Result<Response>> post_undrain(daemon::Daemon& daemon, Session&, Request& request) {
  CO_TRY(check_root(request));
  CO_TRY(daemon.drain().undrain());
  co_return json_response(200, json::object());
}

}  // namespace sockmi::api
