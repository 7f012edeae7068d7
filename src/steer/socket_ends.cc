// The kernel tells when a socket ends (sock_diag's destroy groups): no polling, and no way to miss it but a full buffer, which it says too.
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/unique_fd.h"
#include "steer/netlink.h"
#include "steer/steering.h"

namespace sockmi::steer {
namespace {

constexpr int kBuffer = 16 << 20;  // 1,500 ends at once overflow the default

std::uint64_t cookie_of(const nlmsghdr* message) {
  const auto* diag = static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(message));
  return diag->id.idiag_cookie[0] | std::uint64_t(diag->id.idiag_cookie[1]) << 32;
}

class KernelSocketEnds : public SocketEnds {
 public:
  KernelSocketEnds(unique_fd notices, std::unique_ptr<Netlink> diag) : notices_(std::move(notices)), diag_(std::move(diag)) {}
  int fd() const override { return notices_.get(); }

  Result<std::vector<std::uint64_t>> ended() override {
    std::vector<std::uint64_t> out;
    alignas(nlmsghdr) char buffer[65536];
    for (;;) {
      const ssize_t got = ::recv(notices_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) return out;
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return fail_errno("sock_diag");  // ENOBUFS among them
      int left = static_cast<int>(got);
      for (auto* m = reinterpret_cast<const nlmsghdr*>(buffer); mnl_nlmsg_ok(m, left); m = mnl_nlmsg_next(m, &left))
        if (m->nlmsg_type >= NLMSG_MIN_TYPE && mnl_nlmsg_get_payload_len(m) >= sizeof(inet_diag_msg)) out.push_back(cookie_of(m));
    }
  }

  Result<std::vector<std::uint64_t>> alive() override {
    std::vector<std::uint64_t> out;
    for (const std::uint8_t family : {AF_INET, AF_INET6}) {
      alignas(nlmsghdr) char buffer[256] = {};
      nlmsghdr* header = mnl_nlmsg_put_header(buffer);
      header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
      header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
      header->nlmsg_seq = diag_->next_sequence();
      auto* request = static_cast<inet_diag_req_v2*>(mnl_nlmsg_put_extra_header(header, sizeof(inet_diag_req_v2)));
      request->sdiag_family = family;
      request->sdiag_protocol = IPPROTO_TCP;
      request->idiag_states = ~(1u << 6);  // all but TIME_WAIT: those sockets have ended
      TRY(diag_->dump(header, "sock_diag", [&](const nlmsghdr* m) { out.push_back(cookie_of(m)); }));
    }
    std::ranges::sort(out);
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

}  // namespace sockmi::steer
