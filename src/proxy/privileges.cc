#include "proxy/privileges.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

namespace sockmi::proxy {

// A process that leaves user 0 loses its capabilities (capabilities(7)).
Result<> become_user(const std::string& name) {
  errno = 0;
  const passwd* user = ::getpwnam(name.c_str());
  if (!user) return fail(errno ? errno : ENOENT, "there is no user '{}'", name);
  if (::initgroups(name.c_str(), user->pw_gid) != 0 ||
      ::setresgid(user->pw_gid, user->pw_gid, user->pw_gid) != 0 ||
      ::setresuid(user->pw_uid, user->pw_uid, user->pw_uid) != 0)
    return fail_errno("cannot become user " + name);
  return {};
}

}  // namespace sockmi::proxy
