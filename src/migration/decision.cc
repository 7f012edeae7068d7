#include "migration/decision.h"

#include "base/fault.h"

namespace sockmi::daemon {
namespace {

std::optional<RemoteConnection> away(const Services& services, const ExportedEndpoint& one,
                                     const cluster::SelectedHost& importer) {
  if (importer.host == one.endpoint.home) return std::nullopt;
  return RemoteConnection{one.endpoint.service,
                          importer.host,
                          importer.address_for(one.tuple.local.ip),
                          one.endpoint.home,
                          one.endpoint.home_control,
                          services.steering->in_other_namespace(one.tuple.local.ip),
                          one.endpoint.generation,
                          {}};
}

Result<> try_decide(const Services& services, ConnectionTable& table,
                    const cluster::SelectedHost& importer, Clock::time_point decide_by,
                    std::span<ExportedEndpoint> group) {
  for (ExportedEndpoint& one : group) {
    TRY(fault::point("check"));
    if (Clock::now() > decide_by) return fail(ETIMEDOUT, "importer was not ready in time");
    // The journal has space reserved. Any other failure comes before hold(), because the
    // effect of hold() is visible to the application.
    TRY(fault::point("journal"));
    if (one.token && !one.token->take()) return given_up();
    (void)fault::point("token");  // from here on the asker cannot give up
  }
  std::vector<Departure> departures;
  std::vector<std::optional<ImportedConnection>> imported;
  for (ExportedEndpoint& one : group) {
    TRY(hold(services.settings.runtime, one));
    Decision decision{one.cookie, one.tuple, importer.host, importer.control_address,
                      one.owner ? one.owner->mark : 0};
    decision.generation = one.endpoint.generation;
    if (group.size() > 1) decision.group = group.front().id;
    departures.push_back({one.id, decision, away(services, one, importer)});
    const ImportedConnection* found =
        one.endpoint.home == services.settings.host ? nullptr : table.find_imported(one.cookie);
    imported.push_back(found ? std::optional(*found) : std::nullopt);
  }
  TRY(table.log_decision(departures));
  for (std::size_t i = 0; i < group.size(); ++i) {
    group[i].imported = imported[i];
    group[i].decided = true;
  }
  return {};
}

}  // namespace

void decide(const Services& services, ConnectionTable& table, const cluster::SelectedHost& importer,
            Clock::time_point decide_by, std::span<ExportedEndpoint> group) {
  keep_together(group);
  if (!group.front().result) return;
  const auto decided = try_decide(services, table, importer, decide_by, group);
  for (ExportedEndpoint& one : group)
    one.result = decided;
}

}  // namespace sockmi::daemon
