// Reading an option costs about as much as a small packet, and there are a hundred
// options, nearly all of which nearly always have the value of a fresh socket. Such
// values are neither transferred nor set. The kernel is asked once per address family for
// these values, and thereby for the options that it knows.
#include "tcp/socket_options.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "base/log.h"
#include "base/unique_fd.h"

namespace sockmi::tcp {
namespace {

// Restored by buffers.cc.
constexpr int kBufferOptions[] = {SO_RCVBUF, SO_SNDBUF, SO_BUF_LOCK};

// Pseudo-level for the flags of fcntl(2), which are not socket options, but which belong
// to the socket all the same.
constexpr int kFlagsLevel = -1;

// The longest values are IPv6's extension headers.
using Value = std::array<std::uint8_t, 2048 + 8>;

std::optional<ByteView> read(int fd, int level, int name, Value& room) {
  socklen_t size = room.size();
  if (::getsockopt(fd, level, name, room.data(), &size) != 0) return std::nullopt;
  return ByteView(room).first(std::min<std::size_t>(size, room.size()));
}

std::unique_ptr<wire::SocketOptionT> make_option(int level, int name, ByteView value) {
  auto option = std::make_unique<wire::SocketOptionT>();
  option->level = level;
  option->name = name;
  option->value.assign(value.begin(), value.end());
  return option;
}

struct Known {
  const Option* option;
  Bytes fresh;  // the value of a fresh socket
};

std::vector<Known> ask_kernel(int family) {
  std::vector<Known> all;
  const unique_fd socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP));
  Value room;
  for (const Option& option : moved_options()) {
    if (option.level != IPPROTO_IPV6 || family == AF_INET6) {
      if (const auto value = read(socket.get(), option.level, option.name, room))
        all.push_back({&option, Bytes(value->begin(), value->end())});
    }
  }
  return all;
}

const std::vector<Known>& known_options(bool v6) {
  static const std::vector<Known> of4 = ask_kernel(AF_INET), of6 = ask_kernel(AF_INET6);
  return v6 ? of6 : of4;
}

}  // namespace

Result<> set_repair(int fd, int mode) {
  return set(fd, IPPROTO_TCP, TCP_REPAIR, mode, "TCP_REPAIR");
}
Result<> select_queue(int fd, int queue) {
  return set(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue, "TCP_REPAIR_QUEUE");
}

Result<std::uint32_t> queue_sequence(int fd, int queue) {
  TRY(select_queue(fd, queue));
  return get<std::uint32_t>(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, "TCP_QUEUE_SEQ");
}

int poll_now(int fd, short events) {
  pollfd ask{fd, events, 0};
  return ::poll(&ask, 1, 0) == 1 ? ask.revents : 0;
}

void add_option(wire::TcpT& image, int level, int name, ByteView value) {
  image.options.push_back(make_option(level, name, value));
}

Settings read_settings(int fd, int family, bool passive) {
  Settings settings;
  Value room;
  for (const auto& [option, fresh] : known_options(family == AF_INET6)) {
    if (option->when == When::Passive && !passive) continue;
    const auto value = read(fd, option->level, option->name, room);
    if (value &&
        (option->otherwise == DefaultOrigin::OfTheHost || !std::ranges::equal(*value, fresh)))
      settings.push_back(make_option(option->level, option->name, *value));
  }
  return settings;
}

void capture_options(int fd, wire::TcpT& image) {
  const bool v6 = image.local_ip.size() == 16;
  char congestion[17] = {};
  socklen_t size = 16;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, &size) == 0)
    image.congestion = congestion;
  image.window_clamp =
      get<std::uint32_t>(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, "TCP_WINDOW_CLAMP").value_or(0);
  image.transparent = (v6 ? get<int>(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, "IPV6_TRANSPARENT")
                          : get<int>(fd, IPPROTO_IP, IP_TRANSPARENT, "IP_TRANSPARENT"))
                          .value_or(0) == 1;
  Value room;
  for (const int name : kBufferOptions) {
    if (const auto value = read(fd, SOL_SOCKET, name, room))
      add_option(image, SOL_SOCKET, name, *value);
  }
  const std::uint8_t nonblocking = (::fcntl(fd, F_GETFL) & O_NONBLOCK) ? 1 : 0;
  add_option(image, kFlagsLevel, 0, {&nonblocking, 1});
}

void restore_options(int fd, const wire::TcpT& image, When when) {
  for (const auto& option : image.options) {
    if (!option || option->value.empty()) continue;
    if (option->level == kFlagsLevel) {
      if (when == When::Connected && option->value[0]) ::fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
      continue;
    }
    // Sets only options that are in the table: an image must not reach any other option.
    const auto known = std::ranges::find_if(moved_options(), [&](const Option& o) {
      return o.level == option->level && o.name == option->name;
    });
    if (known == moved_options().end() || known->when != when) continue;
    if (::setsockopt(fd, option->level, option->name, option->value.data(),
                     static_cast<socklen_t>(option->value.size())) != 0) {
      log::debug("option_restore_failed",
                 {{"option", known->text}, {"error", fail_errno("cannot set the option").error()}});
    }
  }
}

void restore_congestion_control(int fd, const wire::TcpT& image) {
  if (!image.congestion.empty() &&
      ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, image.congestion.data(),
                   static_cast<socklen_t>(image.congestion.size())) != 0)
    log::warn("congestion_control_unavailable", {{"name", image.congestion}});
}

Result<> set_transparent(int fd, int family) {
  return family == AF_INET6 ? set(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1, "IPV6_TRANSPARENT")
                            : set(fd, IPPROTO_IP, IP_TRANSPARENT, 1, "IP_TRANSPARENT");
}

}  // namespace sockmi::tcp
