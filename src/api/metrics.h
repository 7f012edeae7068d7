// The metrics and other facts that GET /v1/status shows.
#pragma once

#include <span>

#include <nlohmann/json_fwd.hpp>

#include "daemon/daemon.h"

namespace sockmi::api {

struct Metric {
  const char* name;  // its place in the answer: "journal.error" is `error` in `journal`
  nlohmann::json (*read)(daemon::Daemon&);
};

std::span<const Metric> metrics();

}  // namespace sockmi::api
