// Who may export and import which service.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/error.h"

namespace sockmi::broker {

struct ServiceRule {
  // User names; "*" is everybody. Absent: for exports everybody, for imports the exporting user (by name) and root.
  std::optional<std::vector<std::string>> exporters, importers;
};

class Policy {
 public:
  Policy() = default;
  explicit Policy(std::map<std::string, ServiceRule> services) : services_(std::move(services)) {}

  // ENOENT: no such service is configured; EACCES: not for this user.
  Result<> may_export(const std::string& service, const std::string& user) const;
  // May `user` ask for endpoints of the service at all, and may it have one that `owner` exported?
  Result<> may_import(const std::string& service, const std::string& user) const;
  bool may_have(const std::string& service, const std::string& user, const std::string& owner) const;
  bool knows(const std::string& service) const { return services_.contains(service); }

 private:
  std::map<std::string, ServiceRule> services_{{"default", {}}};
};

// The name of a user, or "uid:N" where it has none.
std::string user_name(uid_t uid);

}  // namespace sockmi::broker
