// Every socket option of SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP and IPPROTO_IPV6 that can be
// read and set is in one of two tables: it moves with its socket, or there is a reason
// why not.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <span>

namespace sockmi::tcp {

enum class When : std::uint8_t {
  Open,       // before bind(2)
  Connected,  // any time after connect(2)
  Passive,    // on bound and listening sockets only
};

// A value that a fresh socket has too is not transferred, unless it may differ on another
// host.
enum class DefaultOrigin : std::uint8_t { Everywhere, OfTheHost };

struct Option {
  int level, name;
  const char* text;
  When when = When::Connected;
  DefaultOrigin otherwise = DefaultOrigin::Everywhere;
};

struct Unmoved {
  int level, name;
  const char* why;
};

// In the order of restoring: the times of keepalive before its switch, CORK after
// NODELAY, TOS (which sets the priority) before the priority, SO_TIMESTAMPING before the
// timestamps that share its flags.
std::span<const Option> moved_options();
std::span<const Unmoved> unmoved_options();

// The newest kernel whose options are all in the tables. Options that a newer kernel adds
// do not move.
inline constexpr int kNewestLinux[] = {6, 18};

}  // namespace sockmi::tcp

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72  // linux/socket.h from 5.16 on
#endif
