// Who may export and import which service.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"
#include "base/user.h"

namespace sockmi::daemon {

struct ServiceRule {
  // User names; "*" is everybody. Absent: for exports everybody, for imports the exporting user (by number and name) and root.
  std::optional<std::vector<std::string>> exporters, importers;
  // Where bound and listening sockets of the service may be, for others than root; absent: wherever their user may listen.
  std::optional<std::vector<SocketAddress>> listen;
};

class Policy {
 public:
  Policy() = default;
  explicit Policy(std::map<std::string, ServiceRule> services) : services_(std::move(services)) {}

  // ENOENT: no such service is configured; EACCES: not for this user.
  Result<> may_export(const std::string& service, const User& user) const;
  // May `user` ask for endpoints of the service at all, and may it have one that `owner` exported?
  Result<> may_import(const std::string& service, const User& user) const;
  bool may_have(const std::string& service, const User& user, const User& owner) const;
  // May a bound or listening socket of `user`, at this address, be one of the service? EACCES.
  Result<> may_listen(const std::string& service, const User& user, const SocketAddress& local) const;
  bool knows(const std::string& service) const { return services_.contains(service); }

 private:
  std::map<std::string, ServiceRule> services_{{"default", {}}};
};

}  // namespace sockmi::daemon
