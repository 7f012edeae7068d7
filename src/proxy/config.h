// The configuration of sockmi-proxy: sockmi-proxy.toml(5).
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "proxy/backend_address.h"
#include "proxy/proxy_header.h"

namespace sockmi::proxy {

// Files of PEM.
struct CertificateConfig {
  std::string chain, key;
  bool operator==(const CertificateConfig&) const = default;
};

struct BackendConfig {
  BackendAddress address;
  std::uint32_t max_connections = 1'000'000;
  ProxyVersion proxy_protocol = ProxyVersion::None;  // of the header that the backend gets
  bool tls = false;
  std::string server_name;        // the backend's certificate has to be valid for it
  std::string authorities;        // a file of PEM; empty: those of the system
  CertificateConfig certificate;  // of the proxy; no files: none
  bool operator==(const BackendConfig&) const = default;
};

enum class Balance {
  LeastConnections,
  HashClient,  // a client address gets the same backend, as long as the backends are the same
};

// Of the health checks of backends.
struct CheckConfig {
  std::chrono::milliseconds interval{0};  // 0: none
  unsigned rise = 2, fall = 3;            // good or failed checks in a row that change the health
};

struct ServiceConfig {
  Balance balance = Balance::LeastConnections;
  std::chrono::milliseconds connect_timeout{5000};
  std::chrono::milliseconds idle_timeout{3'600'000};
  std::chrono::milliseconds resolve_interval{30'000};  // of the names of backends
  CheckConfig check;
  unsigned attempts = 3;               // to connect a client with a backend
  std::vector<std::string> protocols;  // of ALPN, that the backends take
  std::map<std::string, BackendConfig> backends;
};

enum class TlsMode {
  Off,        // bytes are relayed as they are
  Terminate,  // the TLS of the client ends here
  Pass,       // as Off, but the ClientHello is read, to choose the service
};

// The service of clients that ask for one of these servers.
struct RouteConfig {
  std::vector<std::string> names;
  std::string service;
};

struct ListenerConfig {
  std::vector<StreamAddress> addresses;
  std::string service;  // of clients without a route
  TlsMode tls = TlsMode::Off;
  std::chrono::milliseconds handshake_timeout{10'000};
  std::map<std::string, CertificateConfig> certificates;
  std::map<std::string, RouteConfig> routes;
  bool v6only = true;
  int backlog = 4096;
  std::uint32_t max_connections = 10'000;
  std::uint32_t max_connections_per_client = 1'000'000;
  bool proxy_protocol = false;  // clients begin with a header
};

struct MovesConfig {
  bool enabled = false;
  std::string socket;  // of sockmid; empty: as the library finds it
};

struct Config {
  unsigned threads = 0;  // 0: one per processor
  std::chrono::milliseconds stop_timeout{5000};
  bool access_log = false;
  std::string user;  // that the proxy runs as once its addresses are bound; empty: no change
  MovesConfig moves;
  std::map<std::string, ListenerConfig> listeners;
  std::map<std::string, ServiceConfig> services;
};

// Reads and checks a file. Errors: EINVAL, with the line and the key where there are any.
Result<Config> read_config(const std::string& path);
// The same for text; `name` stands for the file in errors.
Result<Config> parse_config(std::string_view text, const std::string& name);

}  // namespace sockmi::proxy
