// What is ours in the kernel, kept as it is to be, whatever administrators and other daemons do.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/error.h"

namespace sockmi::steer {

class Upkeep {
 public:
  virtual ~Upkeep() = default;
  virtual int fd() const = 0;  // polls readable when others have changed something
  // Reads what that was. Whether it may concern us: time for repair().
  virtual bool is_disturbed() = 0;
  // Looks at what is ours and puts back what is missing. What that was, in a word for each; "" if nothing was. After an error it is to be called again.
  virtual Result<std::string> repair() = 0;
  // Hosts to which repair() has found another way, since this was asked the last time.
  virtual std::vector<IpAddress> led_anew() = 0;
};

// What others have changed.
struct News {
  bool ours = false;          // tables and elements of ours
  bool surroundings = false;  // interfaces, routes and routing rules: a look at those takes little
  std::string by;             // "nft (4711)"; not known of all

  void add(News other) {
    ours |= other.ours;
    surroundings |= other.surroundings;
    if (!other.by.empty()) by = std::move(other.by);
  }
};

// Hears of changes in the network namespace in which it was opened. fd() polls readable when heard() has something.
class Changes {
 public:
  static Result<std::unique_ptr<Changes>> open();
  virtual ~Changes() = default;
  virtual int fd() const = 0;
  // Since the last call, but for those that came by this netlink socket: our own. What was missed counts as everything.
  virtual News heard(std::uint32_t own_port) = 0;
};

}  // namespace sockmi::steer
