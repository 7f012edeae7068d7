// Reads the configuration. A table maps each key to its setter. An unknown key is an
// error, because it is most likely misspelt.
#include "proxy/config.h"

#include <set>

#include "base/toml_keys.h"

namespace sockmi::proxy {
namespace {

using toml_keys::any_text;
using toml_keys::Keys;
using toml_keys::list;
using toml_keys::number;
using toml_keys::own;
using toml_keys::text;
using toml_keys::yes_no;

constexpr std::int64_t kHour = 3'600'000;
constexpr std::size_t kLongestName = 64;
constexpr std::size_t kMostNames = 1000;  // in one table

Result<TlsMode> parse_tls(const std::string& text) {
  if (text == "off") return TlsMode::Off;
  if (text == "terminate") return TlsMode::Terminate;
  if (text == "pass") return TlsMode::Pass;
  return fail(EINVAL, "expected off, terminate or pass");
}

Result<Balance> parse_balance(const std::string& text) {
  if (text == "least-connections") return Balance::LeastConnections;
  if (text == "hash-client") return Balance::HashClient;
  return fail(EINVAL, "expected least-connections or hash-client");
}

Result<ProxyVersion> parse_proxy_version(const std::string& text) {
  if (text == "none") return ProxyVersion::None;
  if (text == "v1") return ProxyVersion::One;
  if (text == "v2") return ProxyVersion::Two;
  return fail(EINVAL, "expected none, v1 or v2");
}

// RFC 7301, section 3.1.
Result<std::string> parse_protocol(const std::string& text) {
  if (text.empty() || text.size() > 255) return fail(EINVAL, "expected 1 to 255 bytes");
  return text;
}

// A host name, or *.NAME.
Result<std::string> parse_server_name(const std::string& text) {
  const std::string_view rest = std::string_view(text).substr(text.starts_with("*.") ? 2 : 0);
  if (rest.empty() || text.size() > 253 || rest.find('*') != rest.npos)
    return fail(EINVAL, "invalid server name '{}'", text);
  return text;
}

// Returns a function that finds a field of a backend's certificate.
auto certificate(std::string CertificateConfig::*member) {
  return [=](BackendConfig& config) -> std::string& {
    return config.certificate.*member;
  };
}

// Returns a function that finds a field of the health checks.
template <class Value>
auto check_field(Value CheckConfig::*member) {
  return [=](ServiceConfig& config) -> Value& {
    return config.check.*member;
  };
}

// The keys of each table. tools/check-manual compares them, and the limits of numbers,
// with man/sockmi-proxy.toml.5.
const Keys<Config>& keys() {
  using C = Config;
  static const Keys<C> table = {
      {"threads", number<C>(1, 256, own(&C::threads))},
      {"stop_ms", number<C>(0, kHour, own(&C::stop_timeout))},
      {"user", text<C>(any_text, own(&C::user))},
      {"access_log", yes_no<C>(own(&C::access_log))},
  };
  return table;
}

const Keys<MovesConfig>& moves_keys() {
  using M = MovesConfig;
  static const Keys<M> table = {
      {"enabled", yes_no<M>(own(&M::enabled))},
      {"socket", text<M>(any_text, own(&M::socket))},
  };
  return table;
}

const Keys<ListenerConfig>& listener_keys() {
  using L = ListenerConfig;
  static const Keys<L> table = {
      {"listen", list<L>(StreamAddress::parse, own(&L::addresses))},
      {"service", text<L>(any_text, own(&L::service))},
      {"tls", text<L>(parse_tls, own(&L::tls))},
      {"proxy_protocol", yes_no<L>(own(&L::proxy_protocol))},
      {"handshake_ms", number<L>(100, 60'000, own(&L::handshake_timeout))},
      {"v6only", yes_no<L>(own(&L::v6only))},
      {"backlog", number<L>(1, 65'535, own(&L::backlog))},
      {"max_connections", number<L>(1, 1'000'000, own(&L::max_connections))},
      {"max_connections_per_client", number<L>(1, 1'000'000, own(&L::max_connections_per_client))},
  };
  return table;
}

const Keys<CertificateConfig>& certificate_keys() {
  using C = CertificateConfig;
  static const Keys<C> table = {
      {"chain", text<C>(any_text, own(&C::chain))},
      {"key", text<C>(any_text, own(&C::key))},
  };
  return table;
}

const Keys<RouteConfig>& route_keys() {
  using R = RouteConfig;
  static const Keys<R> table = {
      {"names", list<R>(parse_server_name, own(&R::names))},
      {"service", text<R>(any_text, own(&R::service))},
  };
  return table;
}

const Keys<ServiceConfig>& service_keys() {
  using S = ServiceConfig;
  static const Keys<S> table = {
      {"balance", text<S>(parse_balance, own(&S::balance))},
      {"connect_ms", number<S>(10, 60'000, own(&S::connect_timeout))},
      {"idle_ms", number<S>(100, 24 * kHour, own(&S::idle_timeout))},
      {"resolve_ms", number<S>(100, kHour, own(&S::resolve_interval))},
      {"attempts", number<S>(1, 16, own(&S::attempts))},
      {"check_ms", number<S>(100, kHour, check_field(&CheckConfig::interval))},
      {"check_rise", number<S>(1, 100, check_field(&CheckConfig::rise))},
      {"check_fall", number<S>(1, 100, check_field(&CheckConfig::fall))},
      {"alpn", list<S>(parse_protocol, own(&S::protocols))},
  };
  return table;
}

const Keys<BackendConfig>& backend_keys() {
  using B = BackendConfig;
  static const Keys<B> table = {
      {"address", text<B>(BackendAddress::parse, own(&B::address))},
      {"tls", yes_no<B>(own(&B::tls))},
      {"server_name", text<B>(parse_server_name, own(&B::server_name))},
      {"authorities", text<B>(any_text, own(&B::authorities))},
      {"chain", text<B>(any_text, certificate(&CertificateConfig::chain))},
      {"key", text<B>(any_text, certificate(&CertificateConfig::key))},
      {"proxy_protocol", text<B>(parse_proxy_version, own(&B::proxy_protocol))},
      {"max_connections", number<B>(1, 1'000'000, own(&B::max_connections))},
  };
  return table;
}

// Reads the tables `what`.NAME of `parent`. Names are short words: they are in the log
// and in the state of connections.
template <class Target, class Read>
Result<> read_named(const toml::table& parent, const std::string& prefix, const std::string& what,
                    std::map<std::string, Target>& out, Read read) {
  const auto* node = parent.get(what);
  if (!node) return {};
  const auto* names = node->as_table();
  if (!names) return fail(EINVAL, "{}{}: expected tables", prefix, what);
  if (names->size() > kMostNames)
    return fail(EINVAL, "{}{}: more than {} names", prefix, what, kMostNames);
  for (const auto& [key, inner] : *names) {
    const std::string name(key.str());
    const std::string path = fmt::format("{}{}.{}", prefix, what, name);
    const auto* table = inner.as_table();
    if (!table) return fail(EINVAL, "{}: expected a table", path);
    const auto is_plain = [](unsigned char c) {
      return std::isalnum(c) || c == '-' || c == '_' || c == '.';
    };
    if (name.empty() || name.size() > kLongestName || !std::ranges::all_of(name, is_plain)) {
      return fail(EINVAL, "{}: expected a name of letters, digits and '-_.', of at most {} bytes",
                  path, kLongestName);
    }
    TRY(read(*table, path + ".", out[name]));
  }
  return {};
}

Result<> read_backend(const toml::table& table, const std::string& prefix, BackendConfig& out) {
  TRY(toml_keys::read_keys(table, prefix, backend_keys(), out));
  if (out.address.is_missing()) return fail(EINVAL, "missing key '{}address'", prefix);
  if (out.tls && (out.server_name.empty() || out.server_name.starts_with('*')))
    return fail(EINVAL, "{}server_name: needed with tls, without a star", prefix);
  if (out.certificate.chain.empty() != out.certificate.key.empty())
    return fail(EINVAL, "{}chain: needed together with key", prefix);
  const bool has_files = !out.authorities.empty() || !out.certificate.key.empty();
  if (!out.tls && (has_files || !out.server_name.empty()))
    return fail(EINVAL, "{}tls: needed with server_name, authorities, chain and key", prefix);
  return {};
}

Result<> read_service(const toml::table& table, const std::string& prefix, ServiceConfig& out) {
  TRY(toml_keys::read_keys(table, prefix, service_keys(), out, {"backend"}));
  TRY(read_named(table, prefix, "backend", out.backends, read_backend));
  if (out.backends.empty()) return fail(EINVAL, "missing table '{}backend.NAME'", prefix);
  return {};
}

Result<> read_certificate(const toml::table& table, const std::string& prefix,
                          CertificateConfig& out) {
  TRY(toml_keys::read_keys(table, prefix, certificate_keys(), out));
  if (out.chain.empty()) return fail(EINVAL, "missing key '{}chain'", prefix);
  if (out.key.empty()) return fail(EINVAL, "missing key '{}key'", prefix);
  return {};
}

Result<> read_route(const toml::table& table, const std::string& prefix, RouteConfig& out) {
  TRY(toml_keys::read_keys(table, prefix, route_keys(), out));
  if (out.names.empty()) return fail(EINVAL, "missing key '{}names'", prefix);
  if (out.service.empty()) return fail(EINVAL, "missing key '{}service'", prefix);
  return {};
}

Result<> read_listener(const toml::table& table, const std::string& prefix, ListenerConfig& out) {
  TRY(toml_keys::read_keys(table, prefix, listener_keys(), out, {"certificate", "route"}));
  TRY(read_named(table, prefix, "certificate", out.certificates, read_certificate));
  TRY(read_named(table, prefix, "route", out.routes, read_route));
  if (out.addresses.empty()) return fail(EINVAL, "missing key '{}listen'", prefix);
  if (out.service.empty()) return fail(EINVAL, "missing key '{}service'", prefix);
  if ((out.tls == TlsMode::Terminate) == out.certificates.empty())
    return fail(EINVAL, "{}certificate: needed with tls = \"terminate\", and only then", prefix);
  if (out.tls == TlsMode::Off && !out.routes.empty())
    return fail(EINVAL, "{}route: clients without TLS do not ask for a server", prefix);
  return {};
}

Result<> read_moves(const toml::table& table, MovesConfig& out) {
  const auto* node = table.get("moves");
  if (!node) return {};
  const auto* keys = node->as_table();
  if (!keys) return fail(EINVAL, "moves: expected a table");
  return toml_keys::read_keys(*keys, "moves.", moves_keys(), out);
}

Result<> check(const Config& config) {
  if (config.listeners.empty()) return fail(EINVAL, "missing table 'listener.NAME'");
  std::set<StreamAddress> used;
  for (const auto& [name, listener] : config.listeners) {
    if (!config.services.contains(listener.service))
      return fail(EINVAL, "listener.{}.service: there is no service '{}'", name, listener.service);
    for (const auto& [route_name, route] : listener.routes) {
      if (!config.services.contains(route.service)) {
        return fail(EINVAL, "listener.{}.route.{}.service: there is no service '{}'", name,
                    route_name, route.service);
      }
    }
    for (const auto& address : listener.addresses) {
      if (!used.insert(address).second)
        return fail(EINVAL, "listener.{}.listen: {} is listed twice", name, to_string(address));
    }
  }
  return {};
}

Result<Config> read(const toml::table& table) {
  Config config;
  TRY(toml_keys::read_keys(table, "", keys(), config, {"listener", "moves", "service"}));
  TRY(read_moves(table, config.moves));
  TRY(read_named(table, "", "service", config.services, read_service));
  TRY(read_named(table, "", "listener", config.listeners, read_listener));
  TRY(check(config));
  return config;
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& name) {
  TRY_LET(table, toml_keys::parse(text, name));
  auto config = read(table);
  if (!config) return fail(config.error().code, "{}: {}", name, config.error().reason);
  return config;
}

Result<Config> read_config(const std::string& path) {
  TRY_LET(text, toml_keys::read_file(path));
  return parse_config(text, path);
}

}  // namespace sockmi::proxy
