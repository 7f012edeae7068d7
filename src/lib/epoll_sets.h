// Removes descriptors from the epoll(7) sets of this process.
//
// A set refers to the open file, and not to the descriptor. So a socket that another
// process has got stays in the sets of this one when its descriptor is closed here: they
// go on to report its events, and nothing can remove it any more.
#pragma once

#include <span>
#include <vector>

namespace sockmi::lib {

class EpollSets {
 public:
  // Finds the sets of this process; none if /proc is not there.
  static EpollSets find();
  void remove(int fd) const;

 private:
  std::vector<int> sets_;  // borrowed
};

}  // namespace sockmi::lib
