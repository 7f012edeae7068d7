// Decides which users may export and import which services.
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
  // User names; "*" means every user. Absent: for exports every user, for imports the
  // exporting user (by number and name) and root.
  std::optional<std::vector<std::string>> exporters, importers;
  // Where bound and listening sockets of the service may be, for users other than root.
  // Absent: wherever their user may listen.
  std::optional<std::vector<SocketAddress>> listen;
};

class Policy {
 public:
  Policy() = default;
  explicit Policy(std::map<std::string, ServiceRule> services) : services_(std::move(services)) {}

  // Errors: ENOENT if no such service is configured; EACCES if this user may not.
  Result<> may_export(const std::string& service, const User& user) const;
  // may_import(): whether `user` may ask for endpoints of the service at all (errors as
  // above). may_have(): whether `user` may have an endpoint that `owner` exported.
  Result<> may_import(const std::string& service, const User& user) const;
  bool may_have(const std::string& service, const User& user, const User& owner) const;
  // Checks whether a bound or listening socket of `user`, at this address, may belong to
  // the service. Errors: ENOENT if no such service is configured; EACCES if it may not.
  Result<> may_listen(const std::string& service, const User& user,
                      const SocketAddress& local) const;
  bool knows(const std::string& service) const { return services_.contains(service); }

 private:
  std::map<std::string, ServiceRule> services_{{"default", {}}};
};

}  // namespace sockmi::daemon
