// How a connection gets from one mover to the next: over a Unix socket that stays open
// between the two for as long as both live, so that each sees the other's end.
#pragma once

#include <optional>
#include <string>

#include "connection.h"
#include "handshake.h"

namespace mover {

class Handover {
 public:
  // An empty path: takes, or gives, nothing.
  Handover(const std::string& at, const std::string& next);

  bool takes() const { return static_cast<bool>(listener_); }
  bool gives() const { return !next_path_.empty(); }

  // Returns false if the connection cannot be saved now. After true it lives in the other
  // mover: `connection` is empty, and no byte of it was sent from here.
  bool give(Connection& connection);
  // Waits for a connection. Returns nothing if the next mover, which had it last, has
  // ended.
  std::optional<Connection> take(const Context& context);

 private:
  bool wait_for_one();
  Connection receive(const Context& context);
  std::string next_path_;
  Fd listener_, previous_, next_;
};

}  // namespace mover
