#include "net/netlink.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>

#include <libmnl/libmnl.h>

namespace sockmi::net {
namespace {

// In bytes. A transaction of 10,000 elements takes 1 MB, one of 100,000 takes 10 MB. The
// unused part of the buffer costs nothing.
constexpr int kReceiveBuffer = 16 << 20;
constexpr int kNotificationBuffer = 4 << 20;  // in bytes; likewise
constexpr timeval kNetlinkTimeout{.tv_sec = 5,
                                  .tv_usec = 0};  // the kernel answers immediately, or never
constexpr std::size_t kOverhead = 32;             // bytes of the buffer that the kernel uses itself

class KernelNetlink : public Netlink {
 public:
  explicit KernelNetlink(mnl_socket* socket) : socket_(socket) {
    // Half, because the kernel doubles the value.
    const int fd = mnl_socket_get_fd(socket), half = kReceiveBuffer / 2, one = 1;
    (void)::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kNetlinkTimeout, sizeof kNetlinkTimeout);
    // SO_SNDBUFFORCE requires CAP_NET_ADMIN in the initial user namespace. SO_SNDBUF is
    // limited to wmem_max.
    if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &half, sizeof half) != 0)
      (void)::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &half, sizeof half);
    int size = 0;
    socklen_t length = sizeof size;
    (void)::getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &length);
    capacity_ = static_cast<std::size_t>(size) - kOverhead;
    // With this option, an error message does not contain the whole request.
    (void)mnl_socket_setsockopt(socket, NETLINK_CAP_ACK, const_cast<int*>(&one), sizeof one);
  }
  ~KernelNetlink() override { mnl_socket_close(socket_); }

  Result<> transact(const void* messages, std::size_t size, unsigned acks,
                    const char* what) override {
    if (stale_) drain();
    const auto [first, last] = sequences_of(messages, size);
    if (mnl_socket_sendto(socket_, messages, size) < 0) return fail_errno(what);
    Result<> result;
    for (unsigned seen = 0; seen < acks;) {
      const auto got = receive();
      if (got < 0) return give_up(what);
      int left = static_cast<int>(got);
      for (auto* message = reinterpret_cast<const nlmsghdr*>(buffer_); mnl_nlmsg_ok(message, left);
           message = mnl_nlmsg_next(message, &left)) {
        if (message->nlmsg_type != NLMSG_ERROR || !is_answer(message, first, last)) continue;
        ++seen;
        const auto* ack = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message));
        if (ack->error != 0 && result) {
          errno = -ack->error;
          result = fail_errno(what);
        }
      }
      // The kernel acknowledges the messages of a failed batch only as far as it has read
      // them. Further answers must not be taken for those of the next batch.
      if (!result) {
        drain();
        return result;
      }
    }
    return result;
  }

  Result<> dump(const nlmsghdr* request, const char* what,
                const std::function<void(const nlmsghdr*)>& each) override {
    if (stale_) drain();
    if (mnl_socket_sendto(socket_, request, request->nlmsg_len) < 0) return fail_errno(what);
    for (;;) {
      const auto got = receive();
      if (got < 0) return give_up(what);
      int left = static_cast<int>(got);
      for (auto* message = reinterpret_cast<const nlmsghdr*>(buffer_); mnl_nlmsg_ok(message, left);
           message = mnl_nlmsg_next(message, &left)) {
        if (!is_answer(message, request->nlmsg_seq, request->nlmsg_seq)) continue;
        if (message->nlmsg_type == NLMSG_DONE) return {};
        if (message->nlmsg_type == NLMSG_ERROR) {
          errno = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message))->error;
          if (errno == 0) return {};
          return fail_errno(what);
        }
        each(message);
        if (!(message->nlmsg_flags & NLM_F_MULTI)) return {};
      }
    }
  }

  std::size_t capacity() const override { return capacity_; }
  std::uint32_t port() const override { return mnl_socket_get_portid(socket_); }

 private:
  // Answers may still come. They are told from those of later questions by their numbers,
  // but must not fill the buffer.
  std::unexpected<Error> give_up(const char* what) {
    stale_ = true;
    return fail_errno(what);
  }
  // Discards answers that an earlier transaction left unread.
  void drain() {
    stale_ = false;
    for (;;) {
      const auto got = ::recv(mnl_socket_get_fd(socket_), buffer_, sizeof buffer_, MSG_DONTWAIT);
      // ENOBUFS is reported once, in front of what did fit into the buffer.
      if (got == 0 || (got < 0 && errno != ENOBUFS)) return;
    }
  }
  // Repeats after a signal. Otherwise the answers of this transaction would be taken for
  // those of the next one.
  ssize_t receive() {
    for (;;) {
      if (const auto got = mnl_socket_recvfrom(socket_, buffer_, sizeof buffer_);
          got >= 0 || errno != EINTR)
        return got;
    }
  }
  static std::pair<unsigned, unsigned> sequences_of(const void* messages, std::size_t size) {
    std::pair<unsigned, unsigned> out{~0u, 0};
    int left = static_cast<int>(size);
    for (auto* each = static_cast<const nlmsghdr*>(messages); mnl_nlmsg_ok(each, left);
         each = mnl_nlmsg_next(each, &left)) {
      out = {std::min<unsigned>(out.first, each->nlmsg_seq),
             std::max<unsigned>(out.second, each->nlmsg_seq)};
    }
    return out;
  }
  bool is_answer(const nlmsghdr* message, unsigned first, unsigned last) const {
    return message->nlmsg_pid == mnl_socket_get_portid(socket_) && message->nlmsg_seq >= first &&
           message->nlmsg_seq <= last;
  }
  mnl_socket* socket_;
  std::size_t capacity_ = 0;
  bool stale_ = false;  // the last question was given up
  alignas(nlmsghdr) char buffer_[65536];
};

}  // namespace

Result<std::unique_ptr<Netlink>> Netlink::open(int bus) {
  mnl_socket* socket = mnl_socket_open2(bus, SOCK_CLOEXEC);
  if (!socket) return fail_errno("cannot use netlink");
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
    auto failed = fail_errno("cannot use netlink");
    mnl_socket_close(socket);
    return failed;
  }
  return std::make_unique<KernelNetlink>(socket);
}

Result<unique_fd> subscribe(int bus, std::initializer_list<int> groups) {
  unique_fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, bus));
  if (!socket) return fail_errno("cannot use netlink");
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kNotificationBuffer,
                   sizeof kNotificationBuffer) != 0) {
    (void)::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &kNotificationBuffer,
                       sizeof kNotificationBuffer);
  }
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail_errno("cannot use netlink");
  for (const int group : groups) {
    if (::setsockopt(socket.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
      return fail_errno("cannot join a netlink group");
  }
  return socket;
}

}  // namespace sockmi::net
