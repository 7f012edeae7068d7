#include "tcp/listener.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>

#include <algorithm>

#include "tcp/buffers.h"
#include "tcp/image_check.h"
#include "tcp/repair_connect.h"
#include "tcp/socket_info.h"
#include "tcp/socket_options.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {

// Repair mode binds the socket regardless of other sockets, and the bind persists after
// it. But a listening socket cannot enter repair mode, and a listener would pass the mode
// on to its connections. So repair mode ends before listen(2), which checks again whether
// the address is free.
Result<> bind_regardless(int fd, const SocketAddress& local) {
  TRY(set_repair(fd, TCP_REPAIR_ON));
  TRY(bind_local(fd, local));
  TRY(set_repair(fd, TCP_REPAIR_OFF_NO_WP));
  return set(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
}

}  // namespace

Result<wire::TcpT> capture_passive(int fd) {
  TRY_LET(facts, socket_info(fd));
  if (facts.state != kClose && facts.state != kListen)
    return fail(EISCONN, "socket is connected (state {})", facts.state);
  wire::TcpT image;
  image.state = facts.state;
  const auto local = facts.tuple.local.ip.view();
  image.local_ip.assign(local.begin(), local.end());
  image.remote_ip.assign(local.size(), 0);
  image.local_port = facts.tuple.local.port;
  if (facts.state == kListen) {
    TRY_LET(info, get<tcp_info>(fd, IPPROTO_TCP, TCP_INFO, "TCP_INFO"));
    image.backlog = info.tcpi_sacked;  // for a listener, this field has the backlog
  }
  TRY_LET(mss, get<std::uint32_t>(fd, IPPROTO_TCP, TCP_MAXSEG, "TCP_MAXSEG"));
  image.mss = mss;
  TRY_LET(mark, get<std::uint32_t>(fd, SOL_SOCKET, SO_MARK, "SO_MARK"));
  image.mark = mark;
  TRY_LET(reuse, get<int>(fd, SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"));
  image.reuse_address = reuse == 1;
  image.options = read_settings(fd, facts.tuple.local.ip.family, true);
  capture_options(fd, image);
  return image;
}

Result<unique_fd> restore_passive(const wire::TcpT& image, bool transparent) {
  TRY(check_passive(image));
  const SocketAddress local = tuple_of(image).local;
  unique_fd socket(::socket(local.ip.family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
  const int fd = socket.get();
  if (fd < 0) return fail_errno("cannot create a socket");
  TRY(set(fd, SOL_SOCKET, SO_MARK, image.mark, "SO_MARK"));
  if (transparent || image.transparent) TRY(set_transparent(fd, local.ip.family));
  restore_congestion_control(fd, image);
  if (image.window_clamp != 0)
    TRY(set(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, image.window_clamp, "TCP_WINDOW_CLAMP"));
  for (const When when : {When::Open, When::Connected, When::Passive})
    restore_options(fd, image, when);
  // If the application has not set it, it reads as the result of the other options.
  if (get<std::uint32_t>(fd, IPPROTO_TCP, TCP_MAXSEG, "TCP_MAXSEG") != image.mss)
    TRY(set(fd, IPPROTO_TCP, TCP_MAXSEG, image.mss, "TCP_MAXSEG"));
  Buffers(fd, image).settle();
  TRY(bind_regardless(fd, local));
  if (image.state == kListen &&
      ::listen(fd, static_cast<int>(std::min(image.backlog, 0x7fffffffu))) != 0)
    return fail_errno("cannot listen at " + to_string(local));
  TRY(set(fd, SOL_SOCKET, SO_REUSEADDR, int(image.reuse_address), "SO_REUSEADDR"));
  return socket;
}

Result<std::vector<unique_fd>> drain_accept_queue(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
    return fail_errno("cannot set O_NONBLOCK");
  std::vector<unique_fd> accepted;
  int why = 0;
  while (why == 0) {
    const int connection = ::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC);
    // ECONNABORTED: a connection that ended before accept4().
    if (connection >= 0) {
      accepted.emplace_back(connection);
    } else if (errno != ECONNABORTED && errno != EINTR) {
      why = errno;
    }
  }
  (void)::fcntl(fd, F_SETFL, flags);
  errno = why;
  if (why != EAGAIN) return fail_errno("cannot accept a connection");
  return accepted;
}

}  // namespace sockmi::tcp
