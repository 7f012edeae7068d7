// Makes text of what the daemon says about a drain.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "sockmictl/socket_owners.h"

namespace sockmi::sockmictl {

// `status`: the answer of GET /v1/drain.

// Returns the progress in one line.
std::string progress_line(const nlohmann::json& status);
// Returns the progress as it is drawn on a terminal: a bar, and a line for each of the
// most frequent reasons of failures.
std::vector<std::string> progress_block(const nlohmann::json& status, std::size_t width);
// Returns the outcome, or the state, of a drain in several lines.
std::string drain_summary(const nlohmann::json& status, const SocketOwners& owners);

// What a drain would do.
struct DrainPlan {
  struct Service {
    std::string service;
    std::uint64_t connections = 0;
    std::map<std::string, std::uint64_t> hosts;   // how many each host would get
    std::map<std::string, std::string> refusals;  // why a host takes none
    std::uint64_t stay() const;                   // connections that no host takes
  };
  struct Staying {
    pid_t process = 0;  // 0: not known
    std::string program, local, peer;
  };
  std::vector<Service> services;
  std::vector<Staying> not_held;  // connections that no application holds by sockmi
};

// `services`: the answer of POST /v1/drain with `dry_run`. `connections`: all of this
// host. A connection belongs to the application that has its socket.
DrainPlan make_plan(const nlohmann::json& services, const nlohmann::json& connections,
                    const SocketOwners& owners);
std::string plan_text(const DrainPlan& plan);
nlohmann::json plan_json(const DrainPlan& plan);

}  // namespace sockmi::sockmictl
