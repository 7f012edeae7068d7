#include "tcp/repair_connect.h"

#include <linux/tcp.h>
#include <netinet/in.h>

#include <algorithm>

#include "tcp/socket_options.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {

constexpr std::uint32_t kLargestMaxseg = 32767;  // MAX_TCP_WINDOW
// A new connection opens its window about this far.
constexpr std::uint32_t kUnscaledWindow = 65535;

Result<> restore_negotiated(int fd, const wire::TcpT& image) {
  tcp_repair_opt options[4];
  std::size_t count = 0;
  if (image.negotiated & TCPI_OPT_SACK) options[count++] = {4 /* TCPOPT_SACK_PERM */, 0};
  if (image.negotiated & TCPI_OPT_WSCALE) {
    options[count++] = {3 /* TCPOPT_WINDOW */, image.snd_wscale | std::uint32_t(image.rcv_wscale)
                                                                      << 16};
  }
  if (image.negotiated & TCPI_OPT_TIMESTAMPS) options[count++] = {8 /* TCPOPT_TIMESTAMP */, 0};
  options[count++] = {2 /* TCPOPT_MSS */, image.mss};
  if (::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, options,
                   static_cast<socklen_t>(count * sizeof options[0])) != 0)
    return fail_errno("cannot set TCP_REPAIR_OPTIONS");
  // The peer drops segments whose timestamps went back (PAWS).
  if (image.negotiated & TCPI_OPT_TIMESTAMPS)
    TRY(set(fd, IPPROTO_TCP, TCP_TIMESTAMP, image.timestamp, "TCP_TIMESTAMP"));
  return {};
}

}  // namespace

FourTuple tuple_of(const wire::TcpT& image) {
  return {{*IpAddress::from_bytes(image.local_ip), image.local_port},
          {*IpAddress::from_bytes(image.remote_ip), image.remote_port}};
}

Result<> bind_local(int fd, const SocketAddress& local) {
  sockaddr_storage address;
  const socklen_t size = local.to(address);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0)
    return fail_errno("cannot bind to " + to_string(local));
  return {};
}

Result<> connect_silently(int fd, const wire::TcpT& image, std::size_t sample) {
  TRY(select_queue(fd, TCP_RECV_QUEUE));
  TRY(set(fd, IPPROTO_TCP, TCP_QUEUE_SEQ,
          std::uint32_t(image.rcv_seq - image.receive_queue.size() - sample), "TCP_QUEUE_SEQ"));
  TRY(select_queue(fd, TCP_SEND_QUEUE));
  TRY(set(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, std::uint32_t(image.snd_seq - image.send_queue.size()),
          "TCP_QUEUE_SEQ"));
  // Without this option around connect(), the first segments would have the smallest
  // possible MSS. The option's maximum is below what loopback negotiates.
  TRY(set(fd, IPPROTO_TCP, TCP_MAXSEG, int(std::min(image.mss, kLargestMaxseg)), "TCP_MAXSEG"));
  // A new connection chooses a window scale for the widest window that it may ever have,
  // and repair mode does not take it back. A peer that does not use window scaling would
  // be announced a thousandth of the window.
  if (!(image.negotiated & TCPI_OPT_WSCALE))
    TRY(set(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, kUnscaledWindow, "TCP_WINDOW_CLAMP"));
  const SocketAddress remote = tuple_of(image).remote;
  sockaddr_storage address;
  const socklen_t size = remote.to(address);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0)
    return fail_errno("cannot connect to " + to_string(remote));
  TRY(set(fd, IPPROTO_TCP, TCP_MAXSEG, 0, "TCP_MAXSEG"));
  return restore_negotiated(fd, image);
}

// Three of the kernel's numbers need extra care.
//
// The last window update may have come with a segment out of order (which does not move),
// beyond a window that has been shut since. The kernel refuses such a sequence number. So
// the number before rcv_seq is used; every segment from here on is newer.
//
// The peer's FIN is not received yet. Earlier acknowledgements cover it, and the window
// must have space for it, even if it was accepted beyond a window that was shut.
//
// The limit up to which the window may open (rcv_ssthresh) starts at the value of a new
// connection, and a reader that empties a large queue would open the window in small
// steps. The limit follows the window when the clamp is raised, so the window is wide for
// a moment.
Result<> restore_windows(int fd, const wire::TcpT& image) {
  tcp_repair_window window{image.rcv_seq - 1, image.window->snd_wnd(), image.window->max_window(),
                           image.window->rcv_wnd(), image.window->rcv_wup()};
  if (peer_has_finished(image.state)) {
    const std::uint32_t end = image.rcv_seq + 1;
    if (window.rcv_wup == end) --window.rcv_wup, ++window.rcv_wnd;
    window.rcv_wnd = std::max(window.rcv_wnd, end - window.rcv_wup);
  }
  const std::uint32_t may_open = std::min(image.rcv_ssthresh, image.window_clamp);
  if (may_open > kUnscaledWindow) {
    tcp_repair_window wide = window;
    wide.rcv_wnd = std::max(window.rcv_wnd, may_open);
    TRY(set(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, wide, "TCP_REPAIR_WINDOW"));
    TRY(set(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, 1, "TCP_WINDOW_CLAMP"));
  }
  if (image.window_clamp != 0)
    TRY(set(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, image.window_clamp, "TCP_WINDOW_CLAMP"));
  return set(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, window, "TCP_REPAIR_WINDOW");
}

}  // namespace sockmi::tcp
