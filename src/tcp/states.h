// The states of TCP, by the kernel's numbers, and the FINs that each implies.
// (netinet/tcp.h has names for them, but cannot be included together with linux/tcp.h.)
#pragma once

#include <cstdint>

namespace sockmi::tcp {

enum State : std::uint8_t {
  kEstablished = 1,
  kSynSent,
  kSynRecv,
  kFinWait1,
  kFinWait2,
  kTimeWait,
  kClose,
  kCloseWait,
  kLastAck,
  kListen,
  kClosing
};

// A FIN has a sequence number of its own, behind the last byte.
constexpr bool peer_has_finished(int state) {
  return state == kCloseWait || state == kLastAck || state == kClosing;
}
constexpr bool we_have_finished(int state) {
  return state == kFinWait1 || state == kFinWait2 || state == kClosing || state == kLastAck;
}
// Data can flow, or has flowed.
constexpr bool is_synchronized(int state) {
  return state == kEstablished || state == kCloseWait || we_have_finished(state);
}
// A connection in this state can be moved. Bound and listening sockets: see listener.h.
constexpr bool is_movable(int state) {
  return is_synchronized(state) || state == kSynSent;
}

}  // namespace sockmi::tcp
