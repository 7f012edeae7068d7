#include "net/sock_diag.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstring>
#include <optional>

#include "base/unique_fd.h"
#include "net/netlink_message.h"
#include "net/peer_liveness.h"
#include "net/port_users.h"
#include "net/thread_netlink.h"

namespace sockmi::net {
namespace {

// Offsets in struct tcp_info. Only linux/tcp.h has the whole struct, and it cannot be
// included together with netinet/tcp.h.
constexpr std::size_t kUnacknowledged = 24, kAcknowledged = 120, kSegmentsIn = 140,
                      kDataSegmentsIn = 152;
// In bytes. A limit, not an allocation: a notification counts as 1-2 KiB, and 20,000
// sockets may end at the same time.
constexpr int kNoticesBuffer = 64 << 20;
constexpr std::uint32_t kAlive = ~(1u << TCP_TIME_WAIT);
// A state that only sock_diag has: bound, but neither listening nor connected.
constexpr std::uint32_t kBoundInactive = 1u << 13;
constexpr std::uint32_t kConnections =
    kAlive & ~(1u << TCP_CLOSE | 1u << TCP_LISTEN | kBoundInactive);

SocketAddress address(std::uint8_t family, const __be32* bytes, __be16 port) {
  const std::size_t size = family == AF_INET ? 4 : 16;
  return {*IpAddress::from_bytes({reinterpret_cast<const std::uint8_t*>(bytes), size}),
          ntohs(port)};
}

void read_attributes(const nlmsghdr* message, TcpSocket& out) {
  for_each_attribute<inet_diag_msg>(message, [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == INET_DIAG_MARK && mnl_attr_get_payload_len(attribute) == 4)
      out.mark = mnl_attr_get_u32(attribute);
    if (mnl_attr_get_type(attribute) == INET_DIAG_MD5SIG)
      out.is_signed = mnl_attr_get_payload_len(attribute) > 0;
  });
}

std::optional<TcpSocket> read_socket(const nlmsghdr* message) {
  if (message->nlmsg_type < NLMSG_MIN_TYPE ||
      mnl_nlmsg_get_payload_len(message) < sizeof(inet_diag_msg))
    return std::nullopt;
  const auto* diag = static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(message));
  const auto& id = diag->id;
  FourTuple tuple{address(diag->idiag_family, id.idiag_src, id.idiag_sport),
                  address(diag->idiag_family, id.idiag_dst, id.idiag_dport)};
  if (tuple.remote.port == 0) tuple.remote = {};
  TcpSocket socket{.cookie = id.idiag_cookie[0] | std::uint64_t(id.idiag_cookie[1]) << 32,
                   .tuple = tuple,
                   .state = diag->idiag_state,
                   .inode = diag->idiag_inode,
                   .uid = diag->idiag_uid};
  read_attributes(message, socket);
  return socket;
}

struct Question : NetlinkRequest<inet_diag_req_v2> {
  Question(Netlink& diag, int family, int flags, std::uint32_t states)
      : NetlinkRequest(diag, SOCK_DIAG_BY_FAMILY, flags) {
    inet_diag_req_v2& request = *operator->();
    request.sdiag_family = static_cast<std::uint8_t>(family);
    request.sdiag_protocol = IPPROTO_TCP;
    request.idiag_states = states;
    // Without INET_DIAG_INFO the kernel does not report keys either (Linux 6.18).
    request.idiag_ext = 1 << (INET_DIAG_INFO - 1);
  }
  void set_tuple(const FourTuple& tuple) const {
    auto& id = (*this)->id;
    id.idiag_sport = htons(tuple.local.port);
    id.idiag_dport = htons(tuple.remote.port);
    std::memcpy(id.idiag_src, tuple.local.ip.view().data(), tuple.local.ip.size());
    std::memcpy(id.idiag_dst, tuple.remote.ip.view().data(), tuple.remote.ip.size());
  }
  void match_tuple(const FourTuple& tuple) const {
    set_tuple(tuple);
    auto& id = (*this)->id;
    id.idiag_cookie[0] = id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  }
};

// Calls `each` for the sockets of both families, because an IPv4 connection may be on an
// IPv6 socket. `port`: 0 for any.
template <class Each>
Result<> for_each_message(std::uint32_t states, std::uint16_t port, Each each) {
  TRY_LET(diag, Netlink::open(NETLINK_SOCK_DIAG));
  for (const int family : {AF_INET, AF_INET6}) {
    Question all(*diag, family, NLM_F_DUMP, states);
    all->id.idiag_sport = htons(port);
    TRY(all.ask("sock_diag", [&](const nlmsghdr* message) {
      if (const auto socket = read_socket(message))
        each(*socket, *static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(message)));
    }));
  }
  return {};
}

template <class Each>
Result<> for_each_socket(std::uint32_t states, std::uint16_t port, Each each) {
  return for_each_message(states, port,
                          [&](const TcpSocket& socket, const inet_diag_msg&) { each(socket); });
}

class KernelSocketEnds : public SocketEnds {
 public:
  explicit KernelSocketEnds(unique_fd notices) : notices_(std::move(notices)) {}
  int fd() const override { return notices_.get(); }

  Result<std::vector<TcpSocket>> ended() override {
    std::vector<TcpSocket> out;
    bool missed = false;
    alignas(nlmsghdr) char buffer[65536];
    for (;;) {
      const ssize_t got = ::recv(notices_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN && missed)
        return fail(ENOBUFS, "kernel dropped notices of ended sockets");
      if (got < 0 && errno == EAGAIN) return out;
      if (got < 0 && errno == EINTR) continue;
      // The kernel reports the loss once, and drops notifications until all remaining
      // ones were read.
      missed |= got < 0 && errno == ENOBUFS;
      if (got < 0 && errno == ENOBUFS) continue;
      if (got <= 0) return fail_errno("cannot use sock_diag");
      int left = static_cast<int>(got);
      for (auto* m = reinterpret_cast<const nlmsghdr*>(buffer); mnl_nlmsg_ok(m, left);
           m = mnl_nlmsg_next(m, &left))
        if (const auto socket = read_socket(m)) out.push_back(*socket);
    }
  }

 private:
  unique_fd notices_;
};

}  // namespace

Result<std::map<std::uint64_t, TcpSocket>> all_sockets() {
  std::map<std::uint64_t, TcpSocket> out;
  TRY(for_each_socket(kAlive, 0, [&](const TcpSocket& socket) { out[socket.cookie] = socket; }));
  return out;
}

Result<std::vector<TcpSocket>> connections_at(const IpAddress& local) {
  std::vector<TcpSocket> out;
  TRY(for_each_socket(kConnections, 0, [&](const TcpSocket& socket) {
    // The kernel only waits for the peer's FIN.
    const bool spent = socket.state == TCP_FIN_WAIT2 && socket.inode == 0;
    if (socket.tuple.local.ip.unmapped() == local.unmapped() && !spent) out.push_back(socket);
  }));
  return out;
}

Result<std::vector<TcpSocket>> connections_of(const SocketAddress& local) {
  std::vector<TcpSocket> out;
  TRY(for_each_socket(kConnections, local.port, [&](const TcpSocket& socket) {
    const SocketAddress& here = socket.tuple.local;
    if (here.port == local.port &&
        (local.ip.wildcard() || here.ip.unmapped() == local.ip.unmapped()))
      out.push_back(socket);
  }));
  return out;
}

Result<std::vector<PortUser>> users_of_port(std::uint16_t port) {
  std::vector<PortUser> out;
  TRY(for_each_message(1u << TCP_LISTEN | kBoundInactive, port,
                       [&](const TcpSocket& socket, const inet_diag_msg& message) {
                         if (socket.tuple.local.port == port)
                           out.push_back({socket.cookie, socket.tuple.local, message.idiag_uid});
                       }));
  return out;
}

namespace {

Result<TcpSocket> find(const FourTuple& tuple, std::optional<std::uint64_t> cookie) {
  std::optional<TcpSocket> found;
  const FourTuple wanted = tuple.unmapped();
  const auto take = [&](const TcpSocket& socket) {
    // The kernel may answer with the listener, or with a socket in TIME_WAIT.
    if (socket.tuple.unmapped() == wanted && socket.state != TCP_TIME_WAIT &&
        socket.cookie == cookie.value_or(socket.cookie))
      found = socket;
  };
  if (tuple.remote.ip.any()) {
    TRY(for_each_socket(kAlive, tuple.local.port, take));
  } else {
    TRY_LET(diag, thread_netlink(NETLINK_SOCK_DIAG));
    // Without NLM_F_ACK: the answer is one message, or an error.
    Question one(*diag, wanted.local.ip.family, 0, kAlive);
    one.match_tuple(wanted);
    auto asked = one.ask("sock_diag", [&](const nlmsghdr* message) {
      if (const auto socket = read_socket(message)) take(*socket);
    });
    if (!asked && asked.error().code != ENOENT) return pass(std::move(asked));
  }
  if (!found) return fail(ENOENT, "no socket of {} is here", to_string(tuple));
  return *found;
}

}  // namespace

Result<Liveness> liveness_of(const FourTuple& tuple, std::uint64_t cookie) {
  TRY_LET(diag, thread_netlink(NETLINK_SOCK_DIAG));
  const FourTuple plain = tuple.unmapped();
  Question one(*diag, plain.local.ip.family, 0, kAlive);  // as in find()
  one.match_tuple(plain);
  std::optional<Liveness> found;
  auto asked = one.ask("sock_diag", [&](const nlmsghdr* message) {
    const auto socket = read_socket(message);
    if (!socket || socket->cookie != cookie) return;
    mnl_attr_parse(
        message, sizeof(inet_diag_msg),
        [](const nlattr* attribute, void* out) {
          if (mnl_attr_get_type(attribute) == INET_DIAG_INFO &&
              mnl_attr_get_payload_len(attribute) >= kDataSegmentsIn + 4) {
            const auto* info = static_cast<const char*>(mnl_attr_get_payload(attribute));
            Liveness& now = static_cast<std::optional<Liveness>*>(out)->emplace();
            std::memcpy(&now.unacknowledged, info + kUnacknowledged, sizeof now.unacknowledged);
            std::memcpy(&now.acknowledged, info + kAcknowledged, sizeof now.acknowledged);
            std::uint32_t with_data = 0;
            std::memcpy(&now.answers, info + kSegmentsIn, sizeof now.answers);
            std::memcpy(&with_data, info + kDataSegmentsIn, sizeof with_data);
            now.answers -= with_data;
          }
          return MNL_CB_OK;
        },
        &found);
  });
  if (!asked && asked.error().code != ENOENT) return pass(std::move(asked));
  if (!found) return fail(ENOENT, "no socket of {} is here", to_string(tuple));
  return *found;
}

Result<TcpSocket> find_socket(const FourTuple& tuple) {
  return find(tuple, std::nullopt);
}
Result<TcpSocket> find_by_cookie(const FourTuple& tuple, std::uint64_t cookie) {
  return find(tuple, cookie);
}

Result<> destroy(const FourTuple& tuple, std::uint64_t cookie) {
  const FourTuple wanted = tuple.unmapped();
  TRY_LET(diag, thread_netlink(NETLINK_SOCK_DIAG));
  Question one(*diag, wanted.local.ip.family, NLM_F_ACK, kAlive);
  one.header()->nlmsg_type = SOCK_DESTROY;
  one.set_tuple(wanted);
  one->id.idiag_cookie[0] = static_cast<std::uint32_t>(cookie);
  one->id.idiag_cookie[1] = static_cast<std::uint32_t>(cookie >> 32);
  auto destroyed = one.ask("sock_diag", [](const nlmsghdr*) {});
  if (!destroyed && destroyed.error().code != ENOENT) return destroyed;
  return {};
}

Result<std::unique_ptr<SocketEnds>> SocketEnds::open() {
  unique_fd notices(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!notices) return fail_errno("cannot use sock_diag");
  if (::setsockopt(notices.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kNoticesBuffer,
                   sizeof kNoticesBuffer) != 0) {
    (void)::setsockopt(notices.get(), SOL_SOCKET, SO_RCVBUF, &kNoticesBuffer,
                       sizeof kNoticesBuffer);
  }
  sockaddr_nl address{
      .nl_family = AF_NETLINK,
      .nl_groups = 1u << (SKNLGRP_INET_TCP_DESTROY - 1) | 1u << (SKNLGRP_INET6_TCP_DESTROY - 1)};
  if (::bind(notices.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("cannot use sock_diag");
  return std::make_unique<KernelSocketEnds>(std::move(notices));
}

}  // namespace sockmi::net
