// The kernel tells when a socket ends (sock_diag's destroy groups): no polling, and no way to miss it but a full buffer, which it says too.
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "base/unique_fd.h"
#include "steer/netlink.h"
#include "steer/steering.h"

namespace sockmi::steer {
namespace {

constexpr int kBuffer = 64 << 20;  // a limit, not an allocation: a notice counts as 1-2 KiB, and 20,000 sockets may end at once
constexpr std::uint32_t kTimeWait = 1u << 6, kListen = 1u << 10;

SocketAddress address(std::uint8_t family, const __be32* bytes, __be16 port) {
  const std::size_t size = family == AF_INET ? 4 : 16;
  return {IpAddress::from_bytes({reinterpret_cast<const std::uint8_t*>(bytes), size})->unmapped(), ntohs(port)};
}

// Appends what the message says of a socket.
template <class Take>
void read(const nlmsghdr* message, Take take) {
  if (message->nlmsg_type < NLMSG_MIN_TYPE || mnl_nlmsg_get_payload_len(message) < sizeof(inet_diag_msg)) return;
  const auto* diag = static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(message));
  const auto& id = diag->id;
  take(TcpSocket{.cookie = id.idiag_cookie[0] | std::uint64_t(id.idiag_cookie[1]) << 32,
                 .tuple = {address(diag->idiag_family, id.idiag_src, id.idiag_sport), address(diag->idiag_family, id.idiag_dst, id.idiag_dport)},
                 .state = diag->idiag_state});
}

struct Question {
  alignas(nlmsghdr) char buffer[256] = {};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer);
  inet_diag_req_v2* request;

  Question(Netlink& diag, int family, std::uint16_t flags) {
    header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
    header->nlmsg_flags = NLM_F_REQUEST | flags;
    header->nlmsg_seq = diag.next_sequence();
    request = static_cast<inet_diag_req_v2*>(mnl_nlmsg_put_extra_header(header, sizeof(inet_diag_req_v2)));
    request->sdiag_family = static_cast<std::uint8_t>(family);
    request->sdiag_protocol = IPPROTO_TCP;
    request->idiag_states = ~(kTimeWait | kListen);  // those in TIME_WAIT have ended
  }
};

class KernelSocketEnds : public SocketEnds {
 public:
  KernelSocketEnds(unique_fd notices, std::unique_ptr<Netlink> diag) : notices_(std::move(notices)), diag_(std::move(diag)) {}
  int fd() const override { return notices_.get(); }

  Result<std::vector<TcpSocket>> ended() override {
    std::vector<TcpSocket> out;
    alignas(nlmsghdr) char buffer[65536];
    for (;;) {
      const ssize_t got = ::recv(notices_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) return out;
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return fail_errno("sock_diag");  // ENOBUFS among them
      int left = static_cast<int>(got);
      for (auto* m = reinterpret_cast<const nlmsghdr*>(buffer); mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left))
        read(m, [&](const TcpSocket& socket) { out.push_back(socket); });
    }
  }

  Result<std::map<std::uint64_t, TcpSocket>> alive() override {
    std::map<std::uint64_t, TcpSocket> out;
    for (const int family : {AF_INET, AF_INET6}) {
      const Question all(*diag_, family, NLM_F_DUMP);
      TRY(diag_->dump(all.header, "sock_diag", [&](const nlmsghdr* m) {
        read(m, [&](const TcpSocket& socket) { out[socket.cookie] = socket; });
      }));
    }
    return out;
  }

 private:
  unique_fd notices_;
  std::unique_ptr<Netlink> diag_;
};

}  // namespace

Result<std::unique_ptr<SocketEnds>> SocketEnds::open() {
  unique_fd notices(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!notices) return fail_errno("sock_diag");
  if (::setsockopt(notices.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kBuffer, sizeof kBuffer) != 0)
    (void)::setsockopt(notices.get(), SOL_SOCKET, SO_RCVBUF, &kBuffer, sizeof kBuffer);
  sockaddr_nl address{.nl_family = AF_NETLINK, .nl_groups = 1u << (SKNLGRP_INET_TCP_DESTROY - 1) | 1u << (SKNLGRP_INET6_TCP_DESTROY - 1)};
  if (::bind(notices.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return fail_errno("sock_diag");
  TRY_LET(diag, Netlink::open(NETLINK_SOCK_DIAG));
  return std::make_unique<KernelSocketEnds>(std::move(notices), std::move(diag));
}

Result<TcpSocket> find_socket(const FourTuple& tuple) {
  TRY_LET(diag, Netlink::open(NETLINK_SOCK_DIAG));
  const FourTuple wanted{{tuple.local.ip.unmapped(), tuple.local.port}, {tuple.remote.ip.unmapped(), tuple.remote.port}};
  const Question one(*diag, wanted.local.ip.family, NLM_F_ACK);  // by the acknowledgement the answer ends
  auto& id = one.request->id;
  id.idiag_sport = htons(wanted.local.port);
  id.idiag_dport = htons(wanted.remote.port);
  std::memcpy(id.idiag_src, wanted.local.ip.view().data(), wanted.local.ip.size());
  std::memcpy(id.idiag_dst, wanted.remote.ip.view().data(), wanted.remote.ip.size());
  id.idiag_cookie[0] = id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  std::optional<TcpSocket> found;
  TRY(diag->dump(one.header, "sock_diag", [&](const nlmsghdr* m) { read(m, [&](const TcpSocket& socket) { found = socket; }); }));
  // The kernel's answer may be the listener, or one in TIME_WAIT.
  if (!found || found->tuple != wanted || 1u << found->state == kTimeWait) return fail(ENOENT, "no socket of {} lives here", to_string(tuple));
  return *found;
}

}  // namespace sockmi::steer
