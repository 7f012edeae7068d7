#include "sockmictl/drain_view.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "sockmictl/daemon_request.h"

namespace sockmi::sockmictl {
namespace {

using nlohmann::json;

constexpr std::size_t kMostReasonsShown = 5, kMostConnectionsShown = 20;

std::uint64_t number(const json& from, const char* key) {
  const auto it = from.find(key);
  return it != from.end() && it->is_number() ? it->get<std::uint64_t>() : 0;
}

// Connections that applications hold, or may hold: those that have moved, and those that
// are left.
std::uint64_t total_of(const json& status) {
  return number(status, "moved") + number(status, "open") + number(status, "stay");
}

std::string duration_text(std::uint64_t seconds) {
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{}:{:02} min", seconds / 60, seconds % 60);
  return fmt::format("{}:{:02} h", seconds / 3600, seconds / 60 % 60);
}

std::string freeze_text(const json& status) {
  const json& freeze = status["freeze_us"];
  if (number(freeze, "count") == 0) return "-";
  return fmt::format("p50 {:.2f} ms p99 {:.2f} ms", number(freeze, "p50") / 1000.0,
                     number(freeze, "p99") / 1000.0);
}

std::string rate_text(const json& status) {
  const std::string eta =
      status["eta_s"].is_number() ? duration_text(number(status, "eta_s")) : "-";
  return fmt::format("{:.0f}/s, ETA {}, freeze {}", status["per_second"].get<double>(), eta,
                     freeze_text(status));
}

// "3 times: reason" for the most frequent reasons.
std::vector<std::string> failure_lines(const json& status) {
  std::vector<std::string> out;
  for (const json& each : status["failures"]) {
    if (out.size() == kMostReasonsShown) break;
    out.push_back(fmt::format("{} failed: {}", cell(each["count"]), cell(each["reason"])));
  }
  return out;
}

std::string owner_text(const json& connection, const SocketOwners& owners) {
  const auto found = owners.find(number(connection, "inode"));
  if (found == owners.end() || found->second.empty()) return "";
  const pid_t pid = found->second.front();
  return fmt::format("  {} {}", pid, cell(json(program_of(pid))));
}

void add_left(std::string& out, const json& status, const SocketOwners& owners) {
  std::size_t shown = 0;
  for (const json& each : status.value("left", json::array())) {
    if (!each["held"].get<bool>() || each["reason"].get<std::string>().empty()) continue;
    if (++shown > kMostConnectionsShown) {
      out += "  ...\n";
      break;
    }
    out += fmt::format("  {}<-{}{}: {}\n", cell(each["local"]), cell(each["peer"]),
                       owner_text(each, owners), cell(each["reason"]));
  }
}

const char* headline(const std::string& state) {
  if (state == "none") return "this host is not cordoned";
  if (state == "running") return "draining";
  if (state == "done") return "drained: no connection of an application is left";
  if (state == "incomplete") return "drained, but some connections stay";
  if (state == "deadline") return "the deadline has passed, and some connections stay";
  return "the drain was stopped; this host imports nothing until 'sockmictl undrain'";
}

}  // namespace

std::string progress_line(const json& status) {
  std::string out = fmt::format("{} of {} moved, {}", number(status, "moved"), total_of(status),
                                rate_text(status));
  for (const std::string& line : failure_lines(status))
    out += "; " + line;
  return out;
}

std::vector<std::string> progress_block(const json& status, std::size_t width) {
  const std::uint64_t total = total_of(status), moved = number(status, "moved");
  const double part = total == 0 ? 1.0 : static_cast<double>(moved) / static_cast<double>(total);
  const std::string text =
      fmt::format(" {:3.0f} %  {}/{}  {}", std::floor(part * 100), moved, total, rate_text(status));
  const std::size_t cells =
      std::clamp<std::size_t>(width > text.size() + 3 ? width - text.size() - 3 : 0, 10, 40);
  const auto filled = static_cast<std::size_t>(part * static_cast<double>(cells));
  std::vector<std::string> out = {
      fmt::format("[{}{}]{}", std::string(filled, '#'), std::string(cells - filled, '-'), text)};
  for (const std::string& line : failure_lines(status))
    out.push_back("  " + line);
  for (std::string& line : out)
    line = line.substr(0, width > 0 ? width : std::string::npos);
  return out;
}

std::string drain_summary(const json& status, const SocketOwners& owners) {
  std::string out = fmt::format("{}\n", headline(status["state"].get<std::string>()));
  if (const std::string warning = status.value("warning", ""); !warning.empty())
    out += fmt::format("warning: {}\n", cell(json(warning)));
  if (const std::string reason = status.value("reason", ""); !reason.empty())
    out += fmt::format("it ended early: {}\n", cell(json(reason)));
  if (status["state"] == "none") return out;
  out += progress_line(status) + "\n";
  for (const json& host : status["hosts"]) {
    out += fmt::format("  {} to {}{}\n", number(host, "moved"), cell(host["host"]),
                       host["refusal"].get<std::string>().empty()
                           ? ""
                           : fmt::format(" (refuses: {})", cell(host["refusal"])));
  }
  if (const auto cut = number(status, "cut"); cut > 0)
    out += fmt::format("{} connections that did not move were cut\n", cut);
  if (const auto stay = number(status, "stay"); stay > 0)
    out += fmt::format("{} connections of applications stay:\n", stay);
  add_left(out, status, owners);
  if (const auto others = number(status, "not_held"); others > 0)
    out += fmt::format("{} connections that no program holds by sockmi stay\n", others);
  return out;
}

std::uint64_t DrainPlan::Service::stay() const {
  std::uint64_t going = 0;
  for (const auto& [host, count] : hosts)
    going += count;
  return connections - going;
}

namespace {

// Gives each host its share, and what is left by rounding to the first ones that have
// room.
void distribute(DrainPlan::Service& out, const json& hosts) {
  std::uint64_t left = out.connections;
  std::vector<std::pair<std::string, std::uint64_t>> room;
  for (const json& host : hosts) {
    const std::string name = host["host"];
    const double share = host["share"].get<double>();
    if (share <= 0) {
      out.refusals[name] = host["refusal"];
      continue;
    }
    const std::uint64_t most = number(host, "free");
    const auto gets = std::min<std::uint64_t>(
        most, static_cast<std::uint64_t>(share * static_cast<double>(out.connections)));
    out.hosts[name] = gets;
    left -= gets;
    room.emplace_back(name, most - gets);
  }
  for (bool any = true; left > 0 && any;) {
    any = false;
    for (auto& [name, free] : room) {
      if (left == 0 || free == 0) continue;
      ++out.hosts[name];
      --free;
      --left;
      any = true;
    }
  }
}

}  // namespace

DrainPlan make_plan(const json& services, const json& connections, const SocketOwners& owners) {
  DrainPlan plan;
  std::map<pid_t, std::size_t> service_of_process;
  std::map<std::string, std::size_t> service_by_name;
  for (const json& each : services) {
    const std::size_t at = plan.services.size();
    plan.services.push_back({.service = each["service"]});
    service_by_name[each["service"]] = at;
    for (const json& application : each["applications"])
      service_of_process.try_emplace(application["pid"].get<pid_t>(), at);
  }
  for (const json& each : connections) {
    const auto found = owners.find(number(each, "inode"));
    const std::vector<pid_t> processes =
        found == owners.end() ? std::vector<pid_t>() : found->second;
    const auto process = std::ranges::find_if(
        processes, [&](pid_t pid) { return service_of_process.contains(pid); });
    const auto service =
        each["service"].is_string() ? service_by_name.find(each["service"]) : service_by_name.end();
    if (service != service_by_name.end()) {
      ++plan.services[service->second].connections;
    } else if (process != processes.end() && each["service"].is_null()) {
      ++plan.services[service_of_process[*process]].connections;
    } else {
      const pid_t pid = processes.empty() ? 0 : processes.front();
      plan.not_held.push_back({pid, pid == 0 ? "" : program_of(pid), each["local"], each["peer"]});
    }
  }
  for (std::size_t i = 0; i < plan.services.size(); ++i)
    distribute(plan.services[i], services[i]["hosts"]);
  return plan;
}

std::string plan_text(const DrainPlan& plan) {
  std::string out;
  for (const auto& service : plan.services) {
    out += fmt::format("service {}: {} connections\n", cell(json(service.service)),
                       service.connections);
    for (const auto& [host, count] : service.hosts)
      out += fmt::format("  {} to {}\n", count, cell(json(host)));
    if (service.stay() > 0) out += fmt::format("  {} stay: no host takes them\n", service.stay());
    for (const auto& [host, refusal] : service.refusals)
      out += fmt::format("  none to {}: {}\n", cell(json(host)), cell(json(refusal)));
  }
  if (plan.services.empty()) out += "no application is connected to sockmid\n";
  if (plan.not_held.empty()) return out;
  out +=
      fmt::format("{} connections stay: no program holds them by sockmi\n", plan.not_held.size());
  for (std::size_t i = 0; i < std::min(plan.not_held.size(), kMostConnectionsShown); ++i) {
    const auto& each = plan.not_held[i];
    out += fmt::format("  {}<-{}  {} {}\n", cell(json(each.local)), cell(json(each.peer)),
                       each.process == 0 ? "-" : std::to_string(each.process),
                       cell(json(each.program)));
  }
  if (plan.not_held.size() > kMostConnectionsShown) out += "  ...\n";
  return out;
}

json plan_json(const DrainPlan& plan) {
  json services = json::array(), not_held = json::array();
  for (const auto& each : plan.services) {
    services.push_back({{"service", each.service},
                        {"connections", each.connections},
                        {"hosts", each.hosts},
                        {"refusals", each.refusals},
                        {"stay", each.stay()}});
  }
  for (const auto& each : plan.not_held) {
    not_held.push_back({{"local", each.local},
                        {"peer", each.peer},
                        {"pid", each.process == 0 ? json() : json(each.process)},
                        {"program", each.program}});
  }
  return {{"services", std::move(services)}, {"not_held", std::move(not_held)}};
}

}  // namespace sockmi::sockmictl
