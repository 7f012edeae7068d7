// Notices changes that administrators and other daemons make to our rules in the kernel,
// and declares the interface that restores them.
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
  virtual int fd() const = 0;  // readable when others have changed something
  // Reads the pending notifications. Returns whether they may concern us; if so, call
  // repair().
  virtual bool is_disturbed() = 0;
  // Checks our rules and puts back what is missing. Returns one word for each kind of
  // thing that was put back; "" if nothing was missing. After an error it must be called
  // again.
  virtual Result<std::string> repair() = 0;
  // Returns the hosts for which repair() has found another next hop since the last call
  // of this function.
  virtual std::vector<IpAddress> take_rerouted() = 0;
};

// What others have changed.
struct News {
  bool ours = false;     // tables and elements of ours
  bool network = false;  // interfaces, routes and routing rules; checking those is cheap
  std::string by;        // "nft (4711)"; not always known

  void add(News other) {
    ours |= other.ours;
    network |= other.network;
    if (!other.by.empty()) by = std::move(other.by);
  }
};

// Notices changes in the network namespace in which it was opened. fd() is readable when
// heard() has something to return.
class Changes {
 public:
  static Result<std::unique_ptr<Changes>> open();
  virtual ~Changes() = default;
  virtual int fd() const = 0;
  // Returns the changes since the last call, except those made through the netlink socket
  // with port `own_port`, which is ours. Missed notifications count as a change of
  // everything.
  virtual News heard(std::uint32_t own_port) = 0;
};

}  // namespace sockmi::steer
