// Reads the configuration. A table maps each key to its setter. An unknown key is an
// error, because it is most likely misspelt.
#include "sockmid/config.h"

#include "base/toml_keys.h"
#include "net/own_address.h"

namespace sockmi::sockmid {
namespace {

using toml_keys::any_text;
using toml_keys::Keys;
using toml_keys::list;
using toml_keys::number;
using toml_keys::own;
using toml_keys::text;
using toml_keys::yes_no;

Result<cluster::Preference> parse_preference(const std::string& text) {
  if (text == "first") return cluster::Preference::first;
  if (text == "ready-first") return cluster::Preference::ready_first;
  if (text == "least-loaded") return cluster::Preference::least_loaded;
  return fail(EINVAL, "expected first, ready-first or least-loaded");
}

constexpr std::int64_t kHour = 3'600'000;

// Each returns a function that finds a field of a part of the configuration.
template <class Member>
auto of_daemon(Member daemon::Daemon::Config::*member) {
  return [=](Config& config) -> Member& {
    return config.daemon.*member;
  };
}
template <class Member>
auto setting(Member daemon::Settings::*member) {
  return [=](Config& config) -> Member& {
    return config.daemon.settings.*member;
  };
}
template <class Member>
auto discovery(Member cluster::DiscoveryConfig::*member) {
  return [=](Config& config) -> Member& {
    return config.daemon.discovery.*member;
  };
}
template <class Member>
auto limit(Member daemon::QueueLimits::*member) {
  return [=](Config& config) -> Member& {
    return config.daemon.maxima.*member;
  };
}

// The keys. tools/check-manual compares them, and the limits of numbers, with
// man/sockmid.toml.5.
const Keys<Config>& keys() {
  using cluster::DiscoveryConfig;
  using daemon::QueueLimits;
  using daemon::Settings;
  using C = Config;
  static const Keys<C> table = {
      {"address", text<C>(IpAddress::parse, setting(&Settings::address))},
      {"interfaces", list<C>(any_text, setting(&Settings::interfaces))},
      {"socket", text<C>(any_text, own(&Config::socket))},
      {"identity", text<C>(any_text, own(&Config::identity))},
      {"state", text<C>(any_text, of_daemon(&daemon::Daemon::Config::state_folder))},
      {"testing", yes_no<C>(setting(&Settings::testing))},

      {"discovery.group", text<C>(SocketAddress::parse, discovery(&DiscoveryConfig::group))},
      {"discovery.hosts", list<C>(SocketAddress::parse, discovery(&DiscoveryConfig::static_peers))},
      {"discovery.timeout_ms", number<C>(10, 60'000, discovery(&DiscoveryConfig::timeout))},
      {"discovery.preference", text<C>(parse_preference, discovery(&DiscoveryConfig::preference))},
      {"control.port", number<C>(1, 65'535, setting(&Settings::control_port))},

      {"import.max_bound", number<C>(0, 1 << 20, limit(&QueueLimits::bound))},
      {"import.max_listening", number<C>(0, 1 << 20, limit(&QueueLimits::listening))},
      {"import.max_connected", number<C>(0, 1 << 24, limit(&QueueLimits::connected))},
      {"import.wait_ms", number<C>(10, 24 * kHour, setting(&Settings::wait))},
      {"import.require_importer", yes_no<C>(setting(&Settings::require_importer))},
      {"takeover.addresses", list<C>(daemon::Match::parse, setting(&Settings::takeover))},

      {"steer.freeze_timeout_ms", number<C>(1500, 60'000, setting(&Settings::freeze_timeout))},
      {"steer.believe_holders", yes_no<C>(setting(&Settings::believe_holders))},
      {"steer.linger_ms", number<C>(0, kHour, setting(&Settings::linger))},
  };
  return table;
}

// The keys of a table service.NAME.
const Keys<daemon::ServiceRule>& service_keys() {
  using Rule = daemon::ServiceRule;
  static const Keys<Rule> table = {
      {"export", list<Rule>(any_text, own(&Rule::exporters))},
      {"import", list<Rule>(any_text, own(&Rule::importers))},
      {"listen", list<Rule>(SocketAddress::parse, own(&Rule::listen))},
  };
  return table;
}

// Keys that had another name in builds before 0.1.0.
const std::map<std::string, std::string> kRenamed = {
    {"negotiation.group", "discovery.group"},
    {"negotiation.peers", "discovery.hosts"},
    {"negotiation.timeout_ms", "discovery.timeout_ms"},
    {"negotiation.preference", "discovery.preference"},
    {"transfer.port", "control.port"},
};

Result<> read_services(const toml::table& services,
                       std::map<std::string, daemon::ServiceRule>& out) {
  for (const auto& [name, node] : services) {
    const auto* table = node.as_table();
    if (!table) return fail(EINVAL, "service.{}: expected a table", name.str());
    daemon::ServiceRule rule;
    for (const auto& [key, users] : *table) {
      const auto setter = service_keys().find(std::string(key.str()));
      if (setter == service_keys().end())
        return fail(EINVAL, "service.{}.{}: unknown key", name.str(), key.str());
      if (auto set = setter->second(rule, users); !set)
        return fail(EINVAL, "service.{}.{}: {}", name.str(), key.str(), set.error().reason);
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
    const auto setter = keys().find(name);
    if (setter == keys().end()) {
      const auto renamed = kRenamed.find(name);
      return fail(EINVAL, "line {}: {}: unknown key{}", node.source().begin.line, name,
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
  if (config.daemon.settings.address.any()) return fail(EINVAL, "{}: missing key 'address'", path);
  if (config.daemon.settings.interfaces.empty())
    return fail(EINVAL, "{}: missing key 'interfaces'", path);
  if (const auto other = net::address_beside(config.daemon.settings.address))
    config.daemon.settings.other_address = *other;
  config.daemon.discovery.address = config.daemon.settings.address;
  config.daemon.discovery.other_address = config.daemon.settings.other_address;
  config.daemon.discovery.control_port = config.daemon.settings.control_port;
  return config;
}

}  // namespace sockmi::sockmid
