// The kernel also checks what it is given, and a wrong number harms only its own
// connection. This file refuses what would make the daemon ask too much of the kernel, or
// make its own arithmetic wrong.
#include "tcp/image_check.h"

#include "base/address.h"
#include "tcp/states.h"

namespace sockmi::tcp {
namespace {

constexpr std::size_t kLargestQueue = 128u << 20;
constexpr std::uint8_t kLargestWscale = 14;  // RFC 7323, 2.3
constexpr std::uint32_t kLargestWindow = 65535u << kLargestWscale;

std::unexpected<Error> refuse(const char* why) {
  return fail(EBADMSG, "invalid TCP image: {}", why);
}

Result<> check_common(const wire::TcpT& image) {
  if (image.local_ip.size() != image.remote_ip.size() ||
      (image.local_ip.size() != 4 && image.local_ip.size() != 16))
    return refuse("addresses");
  if (image.congestion.size() > 15) return refuse("congestion control");
  return {};
}

// Checks the queues against the state.
Result<> check_state(const wire::TcpT& image) {
  if (!is_movable(image.state)) return refuse("state");
  if (image.state == kSynSent) {
    if (!image.receive_queue.empty() || !image.send_queue.empty())
      return refuse("bytes before the handshake");
    if (image.snd_seq == 1) return refuse("an initial sequence number of 0");
    return {};
  }
  if (!image.window) return refuse("no window");
  if (image.window->rcv_wnd() > kLargestWindow || image.window->snd_wnd() > kLargestWindow)
    return refuse("window");
  if (image.to_come > 0 && (image.state != kEstablished || !image.send_queue.empty()))
    return refuse("bytes to come behind others");
  if (image.state == kFinWait2 && !image.send_queue.empty())
    return refuse("unacknowledged bytes before an acknowledged FIN");
  return {};
}

}  // namespace

Result<> check_connection(const wire::TcpT& image) {
  TRY(check_common(image));
  if (image.local_port == 0 || image.remote_port == 0) return refuse("ports");
  if (image.receive_queue.size() > kLargestQueue || image.send_queue.size() > kLargestQueue ||
      image.to_come > kLargestQueue)
    return refuse("queue too large");
  if (image.unsent > image.send_queue.size()) return refuse("more unsent than queued");
  if (image.snd_wscale > kLargestWscale || image.rcv_wscale > kLargestWscale)
    return refuse("window scale");
  if (image.mss < 48 || image.mss > 65535) return refuse("MSS");
  return check_state(image);
}

Result<> check_passive(const wire::TcpT& image) {
  TRY(check_common(image));
  if (image.state != kClose && image.state != kListen) return refuse("state");
  if (image.state == kListen && image.local_port == 0) return refuse("ports");
  if (!image.receive_queue.empty() || !image.send_queue.empty())
    return refuse("bytes without a connection");
  return {};
}

}  // namespace sockmi::tcp
