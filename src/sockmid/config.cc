// Reads the configuration. A table maps each key to its setter. An unknown key is an
// error, because it is most likely misspelt.
#include "sockmid/config.h"

#include <functional>

#include <toml++/toml.h>

#include "net/own_address.h"

namespace sockmi::sockmid {
namespace {

using Setter = std::function<Result<>(Config&, const toml::node&)>;
using std::chrono::milliseconds;

template <class T>
Result<T> value(const toml::node& node, const char* kind) {
  if (const auto read = node.value_exact<T>()) return *read;
  return fail(EINVAL, "wants a {}", kind);
}

Setter text(std::function<Result<>(Config&, const std::string&)> set) {
  return [set = std::move(set)](Config& config, const toml::node& node) -> Result<> {
    TRY_LET(read, value<std::string>(node, "string"));
    return set(config, read);
  };
}
Setter number(std::int64_t least, std::int64_t most,
              std::function<void(Config&, std::int64_t)> set) {
  return [=](Config& config, const toml::node& node) -> Result<> {
    TRY_LET(read, value<std::int64_t>(node, "number"));
    if (read < least || read > most) return fail(EINVAL, "must be from {} to {}", least, most);
    set(config, read);
    return {};
  };
}
Setter yes_no(std::function<void(Config&, bool)> set) {
  return [=](Config& config, const toml::node& node) -> Result<> {
    TRY_LET(read, value<bool>(node, "true or false"));
    set(config, read);
    return {};
  };
}

// Keys that had another name before 0.1.0.
const std::map<std::string, std::string> kRenamed = {
    {"negotiation.group", "discovery.group"},
    {"negotiation.peers", "discovery.hosts"},
    {"negotiation.timeout_ms", "discovery.timeout_ms"},
    {"negotiation.preference", "discovery.preference"},
    {"transfer.port", "control.port"},
};

Result<std::vector<std::string>> strings(const toml::node& node) {
  std::vector<std::string> out;
  const auto* array = node.as_array();
  if (!array) return fail(EINVAL, "wants a list of strings");
  for (const auto& each : *array) {
    TRY_LET(one, value<std::string>(each, "list of strings"));
    out.push_back(one);
  }
  return out;
}

constexpr std::int64_t kHour = 3'600'000;

const std::map<std::string, Setter>& setters() {
  static const std::map<std::string, Setter> table = {
      {"socket",
       text([](Config& c, const std::string& v) -> Result<> {
         c.socket = v;
         return {};
       })},
      {"identity",
       text([](Config& c, const std::string& v) -> Result<> {
         c.identity = v;
         return {};
       })},
      {"state",
       text([](Config& c, const std::string& v) -> Result<> {
         c.daemon.state_folder = v;
         return {};
       })},
      {"address", text([](Config& c, const std::string& v) -> Result<> {
         TRY_LET(ip, IpAddress::parse(v));
         c.daemon.settings.address = ip;
         return {};
       })},
      {"interfaces", [](Config& c, const toml::node& node) -> Result<> {
         TRY_LET(list, strings(node));
         c.daemon.settings.interfaces = list;
         return {};
       }},
      {"testing", yes_no([](Config& c, bool v) { c.daemon.settings.testing = v; })},
      {"discovery.group", text([](Config& c, const std::string& v) -> Result<> {
         TRY_LET(group, SocketAddress::parse(v));
         c.daemon.discovery.group = group;
         return {};
       })},
      {"discovery.timeout_ms",
       number(10, 60'000, [](Config& c, std::int64_t v) {
         c.daemon.discovery.timeout = milliseconds(v);
       })},
      {"discovery.preference", text([](Config& c, const std::string& v) -> Result<> {
         static const std::map<std::string, cluster::Preference> names = {
             {"first", cluster::Preference::first},
             {"ready-first", cluster::Preference::ready_first},
             {"least-loaded", cluster::Preference::least_loaded}};
         const auto it = names.find(v);
         if (it == names.end()) return fail(EINVAL, "wants first, ready-first or least-loaded");
         c.daemon.discovery.preference = it->second;
         return {};
       })},
      {"discovery.hosts", [](Config& c, const toml::node& node) -> Result<> {
         TRY_LET(list, strings(node));
         for (const auto& each : list) {
           TRY_LET(host, SocketAddress::parse(each));
           c.daemon.discovery.static_peers.push_back(host);
         }
         return {};
       }},
      {"control.port",
       number(1, 65535, [](Config& c, std::int64_t v) {
         c.daemon.settings.control_port = static_cast<std::uint16_t>(v);
       })},
      {"import.max_bound",
       number(0, 1 << 20, [](Config& c, std::int64_t v) {
         c.daemon.maxima.bound = static_cast<std::size_t>(v);
       })},
      {"import.max_listening",
       number(0, 1 << 20, [](Config& c, std::int64_t v) {
         c.daemon.maxima.listening = static_cast<std::size_t>(v);
       })},
      {"import.max_connected",
       number(0, 1 << 24, [](Config& c, std::int64_t v) {
         c.daemon.maxima.connected = static_cast<std::size_t>(v);
       })},
      {"import.wait_ms",
       number(10, 24 * kHour, [](Config& c, std::int64_t v) {
         c.daemon.settings.wait = milliseconds(v);
       })},
      {"import.require_importer",
       yes_no([](Config& c, bool v) {
         c.daemon.settings.require_importer = v;
       })},
      {"takeover.addresses", [](Config& c, const toml::node& node) -> Result<> {
         TRY_LET(list, strings(node));
         for (const auto& each : list) {
           TRY_LET(match, daemon::Match::parse(each));
           c.daemon.settings.takeover.push_back(match);
         }
         return {};
       }},
      {"steer.freeze_timeout_ms",
       number(1500, 60'000, [](Config& c, std::int64_t v) {
         c.daemon.settings.freeze_timeout = milliseconds(v);
       })},
      {"steer.believe_holders",
       yes_no([](Config& c, bool v) {
         c.daemon.settings.believe_holders = v;
       })},
      {"steer.linger_ms",
       number(0, kHour, [](Config& c, std::int64_t v) {
         c.daemon.settings.linger = milliseconds(v);
       })},
  };
  return table;
}

Result<> read_services(const toml::table& services,
                       std::map<std::string, daemon::ServiceRule>& out) {
  for (const auto& [name, node] : services) {
    const auto* table = node.as_table();
    if (!table) return fail(EINVAL, "service.{}: wants a table", name.str());
    daemon::ServiceRule rule;
    for (const auto& [key, users] : *table) {
      auto list = strings(users);
      if (!list)
        return fail(EINVAL, "service.{}.{}: {}", name.str(), key.str(), list.error().reason);
      if (key == "export")
        rule.exporters = *list;
      else if (key == "import")
        rule.importers = *list;
      else if (key == "listen") {
        rule.listen.emplace();
        for (const std::string& each : *list) {
          auto address = SocketAddress::parse(each);
          if (!address)
            return fail(EINVAL, "service.{}.listen: {}", name.str(), address.error().reason);
          rule.listen->push_back(*address);
        }
      } else
        return fail(EINVAL, "service.{}.{}: no such key", name.str(), key.str());
    }
    out[std::string(name.str())] = rule;
  }
  return {};
}

Result<> read_table(const toml::table& table, const std::string& prefix, Config& config) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    if (name == "service") continue;
    if (const auto* inner = node.as_table(); inner && prefix.empty()) {
      TRY(read_table(*inner, name + ".", config));
      continue;
    }
    const auto setter = setters().find(name);
    if (setter == setters().end()) {
      const auto renamed = kRenamed.find(name);
      return fail(EINVAL, "line {}: {}: no such key{}", node.source().begin.line, name,
                  renamed == kRenamed.end() ? "" : "; its name is " + renamed->second + " now");
    }
    if (auto set = setter->second(config, node); !set)
      return fail(EINVAL, "line {}: {}: {}", node.source().begin.line, name, set.error().reason);
  }
  return {};
}

}  // namespace

Result<Config> read_config(const std::string& path) {
  Config config;
  config.daemon.state_folder = "/var/lib/sockmi";
  config.daemon.discovery.group = *SocketAddress::parse("239.255.77.77:7077");
  toml::table table;
  try {
    table = toml::parse_file(path);
  } catch (const toml::parse_error& error) {
    return fail(EINVAL, "{}:{}: {}", path, error.source().begin.line, error.description());
  }
  if (auto read = read_table(table, "", config); !read)
    return fail(EINVAL, "{}: {}", path, read.error().reason);
  if (const auto* services = table["service"].as_table()) {
    std::map<std::string, daemon::ServiceRule> rules;
    if (auto read = read_services(*services, rules); !read)
      return fail(EINVAL, "{}: {}", path, read.error().reason);
    config.daemon.policy = daemon::Policy(std::move(rules));
  }
  if (config.daemon.settings.address.any()) return fail(EINVAL, "{}: address is missing", path);
  if (config.daemon.settings.interfaces.empty())
    return fail(EINVAL, "{}: interfaces is missing", path);
  if (const auto other = net::address_beside(config.daemon.settings.address))
    config.daemon.settings.other_address = *other;
  config.daemon.discovery.address = config.daemon.settings.address;
  config.daemon.discovery.other_address = config.daemon.settings.other_address;
  config.daemon.discovery.control_port = config.daemon.settings.control_port;
  return config;
}

}  // namespace sockmi::sockmid
