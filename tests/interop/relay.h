// The relay between the two ends of a connection, until it ends or its next hop is due.
#pragma once

#include "connection.h"

namespace mover {

class Relay {
 public:
  // `every`: a hop is due after that many plaintext bytes, in either direction; 0: never.
  Relay(Connection& connection, std::uint64_t every)
      : c_(connection),
        left_(every ? every : UINT64_MAX) {}

  enum class Outcome { ended, hop_due };
  Outcome run();
  void postpone() { left_ = 1; }  // the hop was not possible: it is due again with the next byte

 private:
  bool read_plain();
  bool write_plain();
  bool read_tls();
  bool write_tls();
  bool not_done(int result);
  bool over() const;
  void wait() const;

  Connection& c_;
  std::uint64_t left_;        // bytes that may be read before the next hop
  bool tls_ended_ = false;    // by the peer's close_notify, or the end of its stream
  bool tls_gone_ = false;     // nothing can be written any more
  bool wants_write_ = false;  // libssl waits until the socket accepts more
  bool close_sent_ = false, plain_shut_ = false, plain_gone_ = false;
};

}  // namespace mover
