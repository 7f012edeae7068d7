#include "context/policy.h"

#include <algorithm>

namespace sockmi::daemon {
namespace {

bool named(const std::vector<std::string>& users, const User& user) {
  return std::ranges::find(users, user.name) != users.end() ||
         std::ranges::find(users, "*") != users.end();
}

}  // namespace

Result<> Policy::may_export(const std::string& service, const User& user) const {
  const auto it = services_.find(service);
  if (it == services_.end()) return fail(ENOENT, "service '{}' is not configured here", service);
  if (!user.is_root() && it->second.exporters && !named(*it->second.exporters, user))
    return fail(EACCES, "user {} may not export service '{}'", user.name, service);
  return {};
}

Result<> Policy::may_import(const std::string& service, const User& user) const {
  const auto it = services_.find(service);
  if (it == services_.end()) return fail(ENOENT, "service '{}' is not configured here", service);
  if (!user.is_root() && it->second.importers && !named(*it->second.importers, user))
    return fail(EACCES, "user {} may not import service '{}'", user.name, service);
  return {};
}

bool Policy::may_have(const std::string& service, const User& user, const User& owner) const {
  const auto it = services_.find(service);
  if (it == services_.end()) return false;
  if (user.is_root()) return true;
  return it->second.importers ? named(*it->second.importers, user) : user == owner;
}

Result<> Policy::may_listen(const std::string& service, const User& user,
                            const SocketAddress& local) const {
  const auto it = services_.find(service);
  if (it == services_.end()) return fail(ENOENT, "service '{}' is not configured here", service);
  if (user.is_root() || !it->second.listen ||
      std::ranges::find(*it->second.listen, local) != it->second.listen->end())
    return {};
  return fail(EACCES, "{} is not among service.{}.listen", to_string(local), service);
}

}  // namespace sockmi::daemon
