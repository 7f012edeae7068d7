// Shows the daemon's state, for sockmictl and for curl.
#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "api/json_body.h"
#include "api/metrics.h"
#include "api/router.h"
#include "base/fault.h"

namespace sockmi::api {
namespace {

using nlohmann::json;

constexpr std::uint64_t kLargestPage = 4096;

bool may_see(const User& user, const User& owner) {
  return user.is_root() || user == owner;
}

// ?offset=N&limit=N: skips `offset` rows and shows the next `limit`, at most
// kLargestPage. Producing all rows in one answer would keep the daemon from its other
// work.
struct Page {
  std::uint64_t offset, limit, seen = 0;

  static Result<Page> of(const Request& request) {
    TRY_LET(offset, request.number("offset", 0));
    TRY_LET(limit, request.number("limit", kLargestPage));
    return Page{.offset = offset, .limit = std::min(limit, kLargestPage)};
  }
  bool has_next() {
    const std::uint64_t number = seen++;
    return number >= offset && number - offset < limit;
  }
};

json view(const FourTuple& tuple) {
  return {{"local", to_string(tuple.local)}, {"peer", to_string(tuple.remote)}};
}

json connection(const FourTuple& tuple, const std::string& service, const char* role,
                const std::string& home, const std::string& holder) {
  json out = view(tuple);
  out.update({{"service", service}, {"role", role}, {"home", home}, {"holder", holder}});
  return out;
}

}  // namespace

asio::awaitable<Result<Response>> get_status(daemon::Daemon& daemon, Session&, Request&) {
  json out;
  for (const Metric& metric : metrics()) {
    std::string place = "/" + std::string(metric.name);
    std::ranges::replace(place, '.', '/');
    out[json::json_pointer(place)] = metric.read(daemon);
  }
  co_return json_response(200, out);
}

asio::awaitable<Result<Response>> get_connections(daemon::Daemon& daemon, Session&,
                                                  Request& request) {
  const auto& services = daemon.services();
  const auto& table = daemon.connections().table;
  CO_TRY_LET(page, Page::of(request));
  json out = json::array();
  std::set<std::uint64_t> ready;
  for (const auto& each : daemon.import_queue().ready()) {
    ready.insert(each.cookie);
    if (!may_see(request.user, each.endpoint.owner) || !page.has_next()) continue;
    const auto* imported = table.find_imported(each.cookie);
    out.push_back(connection(each.tuple, each.endpoint.service, "ready",
                             imported ? imported->home : "", services.settings.host));
    out.back()["heard"] = !daemon.unheard_peers().waits_for(each.cookie);
  }
  // The users of the other connections are not recorded, so only root sees them.
  if (request.user.is_root()) {
    for (const auto& [cookie, imported] : table.imported()) {
      if (!ready.contains(cookie) && page.has_next()) {
        out.push_back(connection(imported.tuple, imported.service, "imported", imported.home,
                                 services.settings.host));
        out.back()["heard"] = !daemon.unheard_peers().waits_for(cookie);
      }
    }
    for (const auto& [tuple, away] : table.remote()) {
      if (page.has_next()) {
        out.push_back(connection(tuple, away.service,
                                 away.home == services.settings.host ? "moved" : "forwarded",
                                 away.home, away.host));
        out.back()["heard"] = !table.is_unheard(tuple);
      }
    }
  }
  co_return json_response(200, {{"connections", std::move(out)}, {"total", page.seen}});
}

asio::awaitable<Result<Response>> get_hosts(daemon::Daemon& daemon, Session&, Request&) {
  json out = json::array();
  for (const auto& host : daemon.services().discovery->hosts()) {
    out.push_back({{"host", host.host},
                   {"address", to_string(host.control_address.ip)},
                   {"control", to_string(host.control_address)},
                   {"last_heard_ms_ago", host.last_heard_ms_ago},
                   {"cordoned", host.draining},
                   {"connected", daemon.services().control->connected(host.host)}});
  }
  co_return json_response(200, {{"hosts", std::move(out)}});
}

asio::awaitable<Result<Response>> get_migrations(daemon::Daemon& daemon, Session&,
                                                 Request& request) {
  CO_TRY_LET(page, Page::of(request));
  json out = json::array();
  for (const auto& record : daemon.services().history.all()) {
    if (!may_see(request.user, record.owner) || !page.has_next()) continue;
    json line = view(record.tuple);
    const auto since = record.started.time_since_epoch();
    line.update(
        {{"id", wire::to_hex(record.id)},
         {"direction", record.exported ? "export" : "import"},
         {"service", record.service},
         {"from", record.from},
         {"to", record.to},
         {"result", record.result},
         {"error", record.error},
         {"bytes", record.bytes},
         {"pre_copied", record.pre_copied},
         {"freeze_us", record.freeze_us < 0 ? json() : json(record.freeze_us)},
         {"started_ms", std::chrono::duration_cast<std::chrono::milliseconds>(since).count()}});
    out.push_back(std::move(line));
  }
  co_return json_response(200, {{"migrations", std::move(out)}, {"total", page.seen}});
}

asio::awaitable<Result<Response>> post_fault(daemon::Daemon& daemon, Session&, Request& request) {
  if (!request.user.is_root()) co_return fail(EACCES, "only root may use fault points");
  if (!daemon.services().settings.testing)
    co_return fail(EACCES, "cannot use fault points: 'testing = true' is not in the configuration");
  CO_TRY_LET(body, JsonBody::parse(request.http.body()));
  CO_TRY_LET(name, body.text("name"));
  CO_TRY_LET(count, body.count("count", 1));
  fault::arm(name, count);
  co_return json_response(200, json::object());
}

}  // namespace sockmi::api
