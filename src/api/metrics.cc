// The table of metrics. A row is a field of GET /v1/status, and so a line of 'sockmictl
// status'; tools/check-manual compares the rows with man/sockmid.8.
#include "api/metrics.h"

#include <algorithm>

#include <sockmi/sockmi.h>
#include <sockmi/version.h>

#include <nlohmann/json.hpp>

#include "base/stderr_sink.h"
#include "steer/host_checks.h"
#include "steer/rcu_barrier.h"

namespace sockmi::api {
namespace {

using daemon::Daemon;
using nlohmann::json;

std::int64_t uptime(Daemon& daemon) {
  const auto up = daemon::Clock::now() - daemon.started();
  return std::chrono::duration_cast<std::chrono::seconds>(up).count();
}

// An import list: that of bound, listening or connected endpoints.
template <std::uint8_t kState>
json used(Daemon& daemon) {
  return daemon.import_queue().used(kState);
}
template <std::uint8_t kState>
json ready(Daemon& daemon) {
  return daemon.import_queue().ready(kState);
}
template <auto kLimit>
json limit(Daemon& daemon) {
  return daemon.import_queue().maxima().*kLimit;
}

std::size_t moved(Daemon& daemon) {
  const auto& table = daemon.connections().table;
  return static_cast<std::size_t>(std::ranges::count_if(table.remote(), [&](const auto& each) {
    return each.second.home == daemon.services().settings.host;
  }));
}

std::vector<std::string> unreachable_hosts(Daemon& daemon) {
  std::vector<std::string> out;
  daemon.connections().homes.unreachable().for_each(
      [&](const std::string& host) { out.push_back(host); });
  return out;
}

std::vector<std::string> warnings(Daemon& daemon) {
  auto out = steer::warnings(daemon.services().settings.interfaces);
  std::ranges::move(daemon.warnings(), std::back_inserter(out));
  std::ranges::move(daemon.own_addresses().warnings(), std::back_inserter(out));
  return out;
}

template <auto kCounter>
json counter(Daemon& daemon) {
  return daemon.services().counters.*kCounter;
}

using daemon::Counters;
using daemon::QueueLimits;

// A function that returns the value of an expression of `daemon`.
#define VALUE(expression)                       \
  []([[maybe_unused]] Daemon& daemon) -> json { \
    return expression;                          \
  }

const Metric kMetrics[] = {
    {"cordoned", VALUE(daemon.drain().is_cordoned())},
    {"host", VALUE(daemon.services().settings.host)},
    {"version", VALUE(SOCKMI_VERSION_STRING)},
    {"address", VALUE(to_string(daemon.services().settings.address))},
    {"uptime_s", VALUE(uptime(daemon))},
    {"testing", VALUE(daemon.services().settings.testing)},

    {"lists.bound.used", used<SOCKMI_BOUND>},
    {"lists.bound.ready", ready<SOCKMI_BOUND>},
    {"lists.bound.max", limit<&QueueLimits::bound>},
    {"lists.listening.used", used<SOCKMI_LISTENING>},
    {"lists.listening.ready", ready<SOCKMI_LISTENING>},
    {"lists.listening.max", limit<&QueueLimits::listening>},
    {"lists.connected.used", used<SOCKMI_CONNECTED>},
    {"lists.connected.ready", ready<SOCKMI_CONNECTED>},
    {"lists.connected.max", limit<&QueueLimits::connected>},

    {"connections.imported", VALUE(daemon.connections().table.imported().size())},
    {"connections.moved", VALUE(moved(daemon))},
    {"connections.forwarded", VALUE(daemon.connections().table.remote().size() - moved(daemon))},
    {"connections.unheard", VALUE(daemon.unheard_peers().size())},
    {"connections.moved_unheard", VALUE(daemon.connections().table.unheard())},

    {"repairs.count", VALUE(daemon.repairs().count)},
    {"repairs.last", VALUE(daemon.repairs().last)},
    {"repairs.error", VALUE(daemon.repairs().error)},

    {"migrations.exported", counter<&Counters::exported>},
    {"migrations.imported", counter<&Counters::imported>},
    {"migrations.handed_over", VALUE(daemon.hand_overs().count())},
    {"migrations.failed", counter<&Counters::failed>},
    {"migrations.returned_home", counter<&Counters::returned_home>},
    {"migrations.reset", counter<&Counters::reset>},

    {"home.unreachable", VALUE(unreachable_hosts(daemon))},
    {"home.pending_ends", VALUE(daemon.connections().table.journal().pending_ends().size())},
    {"home.reasserted", counter<&Counters::reasserted>},
    {"home.rejected", counter<&Counters::rejected>},

    {"in_doubt", VALUE(daemon.services().in_doubt.all().size())},
    {"journal.error", VALUE(daemon.connections().table.journal().error())},
    {"journal.unwritten", VALUE(daemon.connections().table.journal().unwritten())},
    {"journal.unreadable", VALUE(daemon.connections().table.journal().unreadable())},
    {"log.dropped_lines", VALUE(log::dropped_lines())},
    {"barrier", VALUE(steer::barrier_form())},
    {"congestion_window", VALUE(daemon.congestion().form())},
    {"warnings", VALUE(warnings(daemon))},
};
#undef VALUE

}  // namespace

std::span<const Metric> metrics() {
  return kMetrics;
}

}  // namespace sockmi::api
