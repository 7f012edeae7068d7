// The order of the steps is what kernels want; each place has a reason, said where it is not obvious. Sequence numbers are those behind the
// queues, so a queue is rewound by its size, refilled, and stands where it stood.
#include "tcp/restore.h"

#include <fcntl.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>

#include <cstring>
#include <utility>

#include "base/address.h"
#include "base/log.h"
#include "tcp/socket_options.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

namespace sockmi::tcp {
namespace {

constexpr int kEstablished = 1;
constexpr std::size_t kLargestQueue = 128u << 20;
constexpr std::uint32_t kLargestMaxseg = 32767;  // MAX_TCP_WINDOW
constexpr std::uint8_t kLargestWscale = 14;  // RFC 7323, 2.3

Result<> check(const image::TcpT& image) {
  const auto refuse = [](const char* why) { return fail(EBADMSG, "TCP image: {}", why); };
  if (image.local_ip.size() != image.remote_ip.size() || (image.local_ip.size() != 4 && image.local_ip.size() != 16))
    return refuse("addresses");
  if (image.local_port == 0 || image.remote_port == 0) return refuse("ports");
  if (image.state != kEstablished) return refuse("state");
  if (!image.window) return refuse("no window");
  if (image.unsent > image.send_queue.size()) return refuse("more unsent than queued");
  if (image.receive_queue.size() > kLargestQueue || image.send_queue.size() > kLargestQueue) return refuse("queue too large");
  if (image.snd_wscale > kLargestWscale || image.rcv_wscale > kLargestWscale) return refuse("window scale");
  if (image.mss < 48 || image.mss > 65535) return refuse("MSS");
  if (image.congestion.size() > 15) return refuse("congestion control");
  return {};
}

int option_of(const image::TcpT& image, int name, int otherwise) {
  for (const auto& option : image.options)
    if (option && option->level == SOL_SOCKET && option->name == name && option->value.size() == sizeof(int)) {
      int value;
      std::memcpy(&value, option->value.data(), sizeof value);
      return value;
    }
  return otherwise;
}

// The kernel doubles what it is given, to account for its own overhead. The FORCE form goes beyond rmem_max, but wants CAP_NET_ADMIN in the
// initial user namespace.
void set_buffer(int fd, int force, int plain, std::size_t bytes) {
  const int half = static_cast<int>(bytes / 2);
  if (::setsockopt(fd, SOL_SOCKET, force, &half, sizeof half) != 0) (void)::setsockopt(fd, SOL_SOCKET, plain, &half, sizeof half);
}

// What the receive queue takes now, overhead included.
std::size_t received_memory(int fd) {
  std::uint32_t memory[SK_MEMINFO_VARS] = {};
  socklen_t size = sizeof memory;
  return ::getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) == 0 ? memory[SK_MEMINFO_RMEM_ALLOC] : 0;
}

Result<> fill(int fd, int queue, std::span<const std::uint8_t> bytes) {
  if (bytes.empty()) return {};
  TRY(select_queue(fd, queue));
  std::size_t piece = bytes.size();
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), std::min(piece, bytes.size()), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    } else if (errno == ENOMEM && piece > 1024) {
      piece /= 2;  // one big allocation may fail where smaller ones do not
    } else {
      return fail_errno("refilling a queue");
    }
  }
  return {};
}

Result<> restore_negotiated(int fd, const image::TcpT& image) {
  tcp_repair_opt options[4];
  std::size_t count = 0;
  if (image.negotiated & TCPI_OPT_SACK) options[count++] = {4 /* TCPOPT_SACK_PERM */, 0};
  if (image.negotiated & TCPI_OPT_WSCALE)
    options[count++] = {3 /* TCPOPT_WINDOW */, image.snd_wscale | std::uint32_t(image.rcv_wscale) << 16};
  if (image.negotiated & TCPI_OPT_TIMESTAMPS) options[count++] = {8 /* TCPOPT_TIMESTAMP */, 0};
  options[count++] = {2 /* TCPOPT_MSS */, image.mss};
  if (::setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, options, static_cast<socklen_t>(count * sizeof options[0])) != 0)
    return fail_errno("TCP_REPAIR_OPTIONS");
  // The peer drops segments whose timestamps went back (PAWS).
  if (image.negotiated & TCPI_OPT_TIMESTAMPS) TRY(set(fd, IPPROTO_TCP, TCP_TIMESTAMP, image.timestamp, "TCP_TIMESTAMP"));
  return {};
}

Result<> connect_silently(int fd, const image::TcpT& image, bool transparent) {
  const SocketAddress local{*IpAddress::from_bytes(image.local_ip), image.local_port};
  const SocketAddress remote{*IpAddress::from_bytes(image.remote_ip), image.remote_port};
  const bool v6 = local.ip.family == AF_INET6;
  if (transparent) TRY(v6 ? set(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1, "IPV6_TRANSPARENT") : set(fd, IPPROTO_IP, IP_TRANSPARENT, 1, "IP_TRANSPARENT"));
  if (!image.congestion.empty() &&
      ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, image.congestion.data(), static_cast<socklen_t>(image.congestion.size())) != 0)
    log::warn("event=congestion_control_not_here name={}", image.congestion);
  sockaddr_storage address;
  socklen_t size = local.to(address);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0) return fail_errno("bind " + to_string(local));
  TRY(select_queue(fd, TCP_RECV_QUEUE));
  TRY(set(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, std::uint32_t(image.rcv_seq - image.receive_queue.size()), "TCP_QUEUE_SEQ"));
  TRY(select_queue(fd, TCP_SEND_QUEUE));
  TRY(set(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, std::uint32_t(image.snd_seq - image.send_queue.size()), "TCP_QUEUE_SEQ"));
  // Without this around connect() the first segments would have the smallest MSS there is. The option ends below what loopback negotiates.
  TRY(set(fd, IPPROTO_TCP, TCP_MAXSEG, int(std::min(image.mss, kLargestMaxseg)), "TCP_MAXSEG"));
  size = remote.to(address);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0) return fail_errno("connect " + to_string(remote));
  TRY(set(fd, IPPROTO_TCP, TCP_MAXSEG, 0, "TCP_MAXSEG"));
  return restore_negotiated(fd, image);
}

}  // namespace

Restored::~Restored() {
  if (!fd_) return;
  const sockaddr none{.sa_family = AF_UNSPEC};
  (void)::connect(fd_.get(), &none, sizeof none);
}

Result<Restored> Restored::restore(const image::TcpT& image, std::uint32_t freeze_mark, bool transparent) {
  TRY(check(image));
  Restored restored;
  restored.owner_mark_ = image.mark;
  restored.owner_reuse_address_ = image.reuse_address;
  restored.fd_.reset(::socket(image.local_ip.size() == 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
  const int fd = restored.fd_.get();
  if (fd < 0) return fail_errno("socket");
  TRY(set_repair(fd, TCP_REPAIR_ON));
  TRY(set(fd, SOL_SOCKET, SO_MARK, freeze_mark, "SO_MARK"));
  // Room for the queues. The owner's sizes are put back when they are filled: kept, the larger ones would be filled by the application, captured,
  // and doubled again by the next move.
  const auto receive_buffer = static_cast<std::size_t>(option_of(image, SO_RCVBUF, 0));
  restored.send_buffer_ = static_cast<std::size_t>(option_of(image, SO_SNDBUF, 0));
  restored.buffer_lock_ = option_of(image, SO_BUF_LOCK, 0);
  set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, std::max(receive_buffer, 2 * image.receive_queue.size()));
  set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, std::max(restored.send_buffer_, 2 * image.send_queue.size()));
  TRY(connect_silently(fd, image, transparent));
  const auto sent = std::span(image.send_queue).first(image.send_queue.size() - image.unsent);
  TRY(fill(fd, TCP_RECV_QUEUE, image.receive_queue));
  if (2 * image.receive_queue.size() > receive_buffer) set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, std::max(receive_buffer, received_memory(fd)));
  TRY(fill(fd, TCP_SEND_QUEUE, sent));
  restored.unsent_.assign(image.send_queue.end() - image.unsent, image.send_queue.end());
  const tcp_repair_window window{image.window->snd_wl1(), image.window->snd_wnd(), image.window->max_window(), image.window->rcv_wnd(),
                                 image.window->rcv_wup()};
  TRY(set(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, window, "TCP_REPAIR_WINDOW"));
  TRY(select_queue(fd, TCP_NO_QUEUE));
  restore_options(fd, image);
  restored.next_ = {{{*IpAddress::from_bytes(image.local_ip), image.local_port}, {*IpAddress::from_bytes(image.remote_ip), image.remote_port}}, image.rcv_seq,
                    image.snd_seq - static_cast<std::uint32_t>(image.send_queue.size()), static_cast<std::uint16_t>(image.window->snd_wnd() >> image.snd_wscale)};
  return restored;
}

Result<> Restored::receive(const Late& late, std::uint32_t inject_mark) {
  next_.data = late.bytes;
  next_.fin = late.fin;
  TRY(inject_data(next_, inject_mark));
  TRY_LET(seq, queue_sequence(fd_.get(), TCP_RECV_QUEUE));
  TRY(select_queue(fd_.get(), TCP_NO_QUEUE));
  if (static_cast<std::int32_t>(seq - next_.seq - late.bytes.size()) < 0) return fail(EIO, "of {} late bytes {} went in", late.bytes.size(), seq - next_.seq);
  return {};
}

Result<unique_fd> Restored::thaw(std::uint32_t) && {
  const int fd = fd_.get();
  TRY(set(fd, SOL_SOCKET, SO_MARK, owner_mark_, "SO_MARK"));
  TRY(set_repair(fd, TCP_REPAIR_OFF));
  unique_fd live = std::move(fd_);
  TRY(set(fd, SOL_SOCKET, SO_REUSEADDR, int(owner_reuse_address_), "SO_REUSEADDR"));
  for (std::span<const std::uint8_t> rest = unsent_; !rest.empty();) {
    const ssize_t sent = ::send(fd, rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      rest = rest.subspan(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno != EAGAIN) return fail_errno("writing the unsent rest of the send queue");
    // The buffer was made large enough for all of it; where the kernel counts its overhead higher, it gets more.
    TRY_LET(size, get<int>(fd, SOL_SOCKET, SO_SNDBUF, "SO_SNDBUF"));
    set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, 2 * static_cast<std::size_t>(size));
    TRY_LET(larger, get<int>(fd, SOL_SOCKET, SO_SNDBUF, "SO_SNDBUF"));
    if (larger <= size) return fail(ENOBUFS, "{} unsent bytes do not fit into the send buffer", rest.size());
  }
  set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, send_buffer_);
  // Setting sizes has switched autotuning off; the lock bits are the owner's.
  (void)set(fd, SOL_SOCKET, SO_BUF_LOCK, buffer_lock_, "SO_BUF_LOCK");
  return live;
}

}  // namespace sockmi::tcp
