// Reads the configuration. A table maps each key to its setter. An unknown key is an
// error, because it is most likely misspelt.
#include "sockmid/config.h"

#include <net/if.h>

#include <algorithm>

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

Result<std::string> parse_path(const std::string& text) {
  if (text.empty() || text.contains('\0')) return fail(EINVAL, "expected a path");
  return text;
}
// What the kernel accepts as the name of an interface.
Result<std::string> parse_interface(const std::string& text) {
  const auto is_wrong = [](unsigned char c) {
    return c <= ' ' || c == 0x7f || c == '/' || c == ':';
  };
  if (text.empty() || text.size() >= IF_NAMESIZE || std::ranges::any_of(text, is_wrong))
    return fail(EINVAL, "invalid interface '{}'", text);
  return text;
}
Result<IpAddress> parse_own_address(const std::string& text) {
  auto address = IpAddress::parse(text);
  if (address && address->wildcard()) return fail(EINVAL, "expected one address, not '{}'", text);
  return address;
}
// Match::parse() takes an empty text for every address.
Result<daemon::Match> parse_range(const std::string& text) {
  auto range = daemon::Match::parse(text);
  if (text.empty() || (range && range->port != 0))
    return fail(EINVAL, "invalid address range '{}': expected ADDRESS or ADDRESS/PREFIX", text);
  return range;
}
Result<cluster::Preference> parse_preference(const std::string& text) {
  if (text == "first") return cluster::Preference::first;
  if (text == "ready-first") return cluster::Preference::ready_first;
  if (text == "least-loaded") return cluster::Preference::least_loaded;
  return fail(EINVAL, "expected first, ready-first or least-loaded");
}

constexpr std::int64_t kHour = 3'600'000;

// Each returns a function that finds a field of a part of the configuration.
template <class Member>
auto setting(Member daemon::Settings::*member) {
  return [=](Config& config) -> Member& {
    return config.settings.*member;
  };
}
template <class Member>
auto discovery(Member cluster::DiscoveryConfig::*member) {
  return [=](Config& config) -> Member& {
    return config.discovery.*member;
  };
}
template <class Member>
auto limit(Member daemon::QueueLimits::*member) {
  return [=](Config& config) -> Member& {
    return config.maxima.*member;
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
      {"address", text<C>(parse_own_address, setting(&Settings::address))},
      {"interfaces", list<C>(parse_interface, setting(&Settings::interfaces))},
      {"socket", text<C>(parse_path, own(&Config::socket))},
      {"identity", text<C>(parse_path, own(&Config::identity))},
      {"state", text<C>(parse_path, own(&Config::state))},
      {"testing", yes_no<C>(setting(&Settings::testing))},

      {"discovery.group", text<C>(SocketAddress::parse, discovery(&DiscoveryConfig::group))},
      {"discovery.hosts", list<C>(SocketAddress::parse, discovery(&DiscoveryConfig::hosts))},
      {"discovery.timeout_ms", number<C>(10, 60'000, discovery(&DiscoveryConfig::timeout))},
      {"discovery.preference", text<C>(parse_preference, discovery(&DiscoveryConfig::preference))},
      {"control.port", number<C>(1, 65'535, setting(&Settings::control_port))},

      {"import.max_bound", number<C>(0, 1 << 20, limit(&QueueLimits::bound))},
      {"import.max_listening", number<C>(0, 1 << 20, limit(&QueueLimits::listening))},
      {"import.max_connected", number<C>(0, 1 << 24, limit(&QueueLimits::connected))},
      {"import.wait_ms", number<C>(10, 24 * kHour, setting(&Settings::wait))},
      {"import.require_importer", yes_no<C>(setting(&Settings::require_importer))},
      {"takeover.addresses", list<C>(parse_range, setting(&Settings::takeover))},

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

// True if keys of the table `name` exist, or did before 0.1.0.
bool is_table(const std::string& name) {
  const auto is_in_it = [&](const auto& each) {
    return each.first.starts_with(name + ".");
  };
  return std::ranges::any_of(keys(), is_in_it) || std::ranges::any_of(kRenamed, is_in_it);
}

std::unexpected<Error> wrong(const toml::node& node, const std::string& key,
                             const std::string& reason) {
  return fail(EINVAL, "line {}: {}: {}", node.source().begin.line, key, reason);
}

Result<> read_services(const toml::node& node, Config& config) {
  const auto* services = node.as_table();
  if (!services) return wrong(node, "service", "expected tables service.NAME");
  std::map<std::string, daemon::ServiceRule> rules;
  for (const auto& [name, service] : *services) {
    const std::string full_name = "service." + std::string(name.str());
    const auto* table = service.as_table();
    if (!table) return wrong(service, full_name, "expected a table");
    daemon::ServiceRule& rule = rules[std::string(name.str())];
    TRY(toml_keys::read_keys(*table, full_name + ".", service_keys(), rule));
  }
  if (!rules.empty()) config.policy = daemon::Policy(std::move(rules));
  return {};
}

Result<> read_key(const std::string& name, const toml::node& node, Config& config) {
  const auto setter = keys().find(name);
  if (setter == keys().end()) {
    const auto renamed = kRenamed.find(name);
    return wrong(node, name,
                 renamed == kRenamed.end()
                     ? "unknown key"
                     : "unknown key; its name is " + renamed->second + " now");
  }
  if (auto set = setter->second(config, node); !set) return wrong(node, name, set.error().reason);
  return {};
}

Result<> read_table(const toml::table& table, const std::string& prefix, Config& config) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    if (name == "service") {
      TRY(read_services(node, config));
    } else if (const auto* inner = node.as_table(); inner && prefix.empty() && is_table(name)) {
      TRY(read_table(*inner, name + ".", config));
    } else {
      TRY(read_key(name, node, config));
    }
  }
  return {};
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& path) {
  TRY_LET(table, toml_keys::parse(text, path));
  Config config;
  if (auto read = read_table(table, "", config); !read)
    return fail(EINVAL, "{}: {}", path, read.error().reason);
  if (config.settings.address.any()) return fail(EINVAL, "{}: missing key 'address'", path);
  if (config.settings.interfaces.empty())
    return fail(EINVAL, "{}: missing key 'interfaces', or no interface in it", path);
  return config;
}

Result<Config> read_config(const std::string& path) {
  TRY_LET(text, toml_keys::read_file(path));
  TRY_LET(config, parse_config(text, path));
  if (const auto other = net::address_of_other_family(config.settings.address))
    config.settings.other_address = *other;
  return config;
}

}  // namespace sockmi::sockmid
