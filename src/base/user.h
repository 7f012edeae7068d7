// A user, as the hosts of a cluster refer to one: by number and by name. Neither alone
// has the same meaning on every host: names are reused, and each host assigns ranges of
// numbers on its own.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace sockmi {

inline constexpr std::uint32_t kNoUid = 0xffffffff;  // like (uid_t)-1: no user

struct User {
  std::uint32_t uid = kNoUid;
  std::string name;  // "" until it is looked up

  // Whether this is the administrator of this host. Root of a container has another name
  // here, and so has a user with another number whose name is "root".
  bool is_root() const { return uid == 0 && name == "root"; }
  auto operator<=>(const User&) const = default;
};

}  // namespace sockmi
