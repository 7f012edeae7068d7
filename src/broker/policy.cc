#include "broker/policy.h"

#include <pwd.h>

#include <algorithm>

namespace sockmi::broker {
namespace {

bool named(const std::vector<std::string>& users, const std::string& user) {
  return std::ranges::find(users, user) != users.end() || std::ranges::find(users, "*") != users.end();
}

}  // namespace

Result<> Policy::may_export(const std::string& service, const std::string& user) const {
  const auto it = services_.find(service);
  if (it == services_.end()) return fail(ENOENT, "no service '{}' is configured here", service);
  if (user != "root" && it->second.exporters && !named(*it->second.exporters, user))
    return fail(EACCES, "user {} may not export service '{}'", user, service);
  return {};
}

Result<> Policy::may_import(const std::string& service, const std::string& user) const {
  const auto it = services_.find(service);
  if (it == services_.end()) return fail(ENOENT, "no service '{}' is configured here", service);
  if (user != "root" && it->second.importers && !named(*it->second.importers, user))
    return fail(EACCES, "user {} may not import service '{}'", user, service);
  return {};
}

bool Policy::may_have(const std::string& service, const std::string& user, const std::string& owner) const {
  const auto it = services_.find(service);
  if (it == services_.end()) return false;
  if (user == "root") return true;
  return it->second.importers ? named(*it->second.importers, user) : user == owner;
}

std::string user_name(uid_t uid) {
  passwd entry{}, *found = nullptr;
  char buffer[4096];
  if (::getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found) return found->pw_name;
  return fmt::format("uid:{}", uid);
}

}  // namespace sockmi::broker
