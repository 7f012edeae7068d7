// A user, as the hosts of a cluster speak of one: by number and by name. Neither alone means the same on every host: names are given anew, and ranges of
// numbers are handed out on each host by itself.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace sockmi {

inline constexpr std::uint32_t kNoUid = 0xffffffff;  // as (uid_t)-1: nobody

struct User {
  std::uint32_t uid = kNoUid;
  std::string name;  // "" until it was looked up

  // The administrator of this host. Root of a container, and a user of another number whose name is "root", have another name here.
  bool is_root() const { return uid == 0 && name == "root"; }
  auto operator<=>(const User&) const = default;
};

}  // namespace sockmi
