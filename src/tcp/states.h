// TCP's states, by the kernel's numbers (netinet/tcp.h names them, but can not be included beside linux/tcp.h), and which FINs each implies.
#pragma once

#include <cstdint>

namespace sockmi::tcp {

enum State : std::uint8_t {
  kEstablished = 1, kSynSent, kSynRecv, kFinWait1, kFinWait2, kTimeWait, kClose, kCloseWait, kLastAck, kListen, kClosing
};

// A FIN takes a sequence number of its own, behind the last byte.
constexpr bool peer_has_finished(int state) { return state == kCloseWait || state == kLastAck || state == kClosing; }
constexpr bool we_have_finished(int state) {
  return state == kFinWait1 || state == kFinWait2 || state == kClosing || state == kLastAck;
}
// Data can flow, or has flowed.
constexpr bool is_synchronized(int state) { return state == kEstablished || state == kCloseWait || we_have_finished(state); }
// A connection that can be moved; of the passive ones see passive.h.
constexpr bool is_movable(int state) { return is_synchronized(state) || state == kSynSent; }

}  // namespace sockmi::tcp
