// Asks the other hosts which of them would take connections of a service now.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "applications/export_requests.h"
#include "context/services.h"
#include "drain/spread.h"

namespace sockmi::daemon {

// The hosts that were asked, by service.
using Spreads = std::map<std::string, Spread>;

// Updates the spread of each service. `only`: the names of the hosts that may be chosen;
// empty: all. `requests` has the applications of this host; a host that accepts the
// connections of one of their users is willing.
asio::awaitable<void> survey_hosts(const Services& services, const ExportRequests& requests,
                                   std::set<std::string> names, std::vector<std::string> only,
                                   Spreads& spreads);

}  // namespace sockmi::daemon
