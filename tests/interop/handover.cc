#include "handover.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "sockets.h"

namespace mover {
namespace {

// Sent between movers of one machine, maybe of different builds: fixed sizes, the
// machine's byte order. The image and the bytes follow it.
struct Head {
  std::uint32_t magic = kMagic;
  std::uint8_t server = 0, plain_ended = 0, reserved[2] = {};
  std::uint64_t hops = 0, image = 0, to_tls = 0, to_plain = 0;
  static constexpr std::uint32_t kMagic = 0x534b4d31;
};
static_assert(sizeof(Head) == 40);
constexpr std::size_t kLargest = 1 << 24;

union Descriptors {
  cmsghdr aligned;
  char space[CMSG_SPACE(2 * sizeof(int))];
};

void send_all(int to, const void* data, std::size_t size) {
  for (const char* at = static_cast<const char*>(data); size > 0;) {
    const ssize_t sent = ::send(to, at, size, MSG_NOSIGNAL);
    if (sent < 0) fail_errno("hand over");
    at += sent;
    size -= static_cast<std::size_t>(sent);
  }
}

// A message that consists of a head, with room for two descriptors.
struct HeadMessage : msghdr {
  explicit HeadMessage(Head& head) : msghdr(), part{&head, sizeof head} {
    msg_iov = &part;
    msg_iovlen = 1;
    msg_control = &control;
    msg_controllen = sizeof control;
  }
  HeadMessage(const HeadMessage&) = delete;

  iovec part;
  Descriptors control{};
};

void send_head(int to, Head& head, int tls, int plain) {
  HeadMessage message(head);
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(2 * sizeof(int));
  const int fds[] = {tls, plain};
  std::memcpy(CMSG_DATA(rights), fds, sizeof fds);
  if (::sendmsg(to, &message, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof head))
    fail_errno("hand over");
}

Head receive_head(int from, Fd& tls, Fd& plain) {
  Head head;
  HeadMessage message(head);
  const ssize_t got = ::recvmsg(from, &message, MSG_WAITALL | MSG_CMSG_CLOEXEC);
  const cmsghdr* rights = CMSG_FIRSTHDR(&message);
  if (got != static_cast<ssize_t>(sizeof head) || head.magic != Head::kMagic || !rights ||
      rights->cmsg_len != CMSG_LEN(2 * sizeof(int)))
    throw Failure("take: not a mover's message");
  if (head.image > kLargest || head.to_tls > kLargest || head.to_plain > kLargest)
    throw Failure("take: too large");
  int fds[2];
  std::memcpy(fds, CMSG_DATA(rights), sizeof fds);
  tls = Fd(fds[0]);
  plain = Fd(fds[1]);
  return head;
}

std::string receive_bytes(int from, std::size_t size) {
  std::string out(size, '\0');
  for (std::size_t at = 0; at < size;) {
    const ssize_t got = ::recv(from, out.data() + at, size - at, 0);
    if (got <= 0) throw Failure("take: cut off");
    at += static_cast<std::size_t>(got);
  }
  return out;
}

int state(bool server) {
  return server ? SOCKMI_SERVER_ESTABLISHED : SOCKMI_CLIENT_ESTABLISHED;
}

}  // namespace

Handover::Handover(const std::string& at, const std::string& next)
    : next_path_(next),
      listener_(at.empty() ? Fd() : listen_unix(at)) {}

bool Handover::give(Connection& c) {
  if (!next_) next_ = connect_unix(next_path_);
  const bool server = SSL_is_server(c.ssl.get());
  void* image = nullptr;
  const int size = save_ssl(&image, c.ssl.get(), state(server));
  if (size < 0 && errno == EAGAIN) return false;
  if (size < 0) throw Failure(std::string("save_ssl: ") + sockmi_last_error());
  Head head;
  head.server = server;
  head.plain_ended = c.plain_ended;
  head.hops = c.hops;
  head.image = static_cast<std::uint64_t>(size);
  head.to_tls = c.to_tls.size();
  head.to_plain = c.to_plain.size();
  send_head(next_.get(), head, c.tls.get(), c.plain.get());
  send_all(next_.get(), image, static_cast<std::size_t>(size));
  send_all(next_.get(), c.to_tls.data(), c.to_tls.size());
  send_all(next_.get(), c.to_plain.data(), c.to_plain.size());
  sockmi_image_free(image, static_cast<std::size_t>(size));
  // Two writers under one key would break the cipher, so this SSL ends without a
  // close_notify.
  SSL_set_quiet_shutdown(c.ssl.get(), 1);
  c = Connection();
  return true;
}

// Returns false if the next mover has ended.
bool Handover::wait_for_one() {
  for (;;) {
    pollfd polled[] = {{previous_ ? previous_.get() : listener_.get(), POLLIN, 0},
                       {next_.get(), POLLIN, 0}};
    if (::poll(polled, 2, -1) < 0) {
      if (errno == EINTR) continue;
      fail_errno("poll");
    }
    // A connection that it gave back before it ended is taken first.
    if (polled[0].revents == 0) return false;
    if (!previous_) {
      previous_ = accept_one(listener_);
      continue;
    }
    char byte;
    if (::recv(previous_.get(), &byte, 1, MSG_PEEK) > 0) return true;
    previous_ = Fd();  // this mover gave one connection and ended
  }
}

Connection Handover::receive(const Context& context) {
  Connection c;
  const Head head = receive_head(previous_.get(), c.tls, c.plain);
  std::string image = receive_bytes(previous_.get(), head.image);
  c.to_tls = receive_bytes(previous_.get(), head.to_tls);
  c.to_plain = receive_bytes(previous_.get(), head.to_plain);
  c.plain_ended = head.plain_ended != 0;
  c.hops = head.hops + 1;
  c.ssl = context.fresh();
  // The BIO may be set before the image is loaded or after it; this alternates.
  const auto set_fd = [&] {
    if (sockmi_set_fd(c.ssl.get(), c.tls.get()) != 0)
      throw Failure(std::string("sockmi_set_fd: ") + sockmi_last_error());
  };
  const bool fd_first = c.hops % 2 == 0;
  if (fd_first) set_fd();
  const int loaded = load_ssl(image.data(), image.size(), c.ssl.get(), state(head.server != 0));
  OPENSSL_cleanse(image.data(), image.size());
  if (loaded != 0) throw Failure(std::string("load_ssl: ") + sockmi_last_error());
  if (!fd_first) set_fd();
  const std::size_t taken = sockmi_write_taken(c.ssl.get());
  if (taken > 0) std::printf("write taken: %zu\n", taken);
  c.to_tls.erase(0, taken);
  return c;
}

std::optional<Connection> Handover::take(const Context& context) {
  if (!wait_for_one()) return std::nullopt;
  return receive(context);
}

}  // namespace mover
