// Many plain TCP connections that move together: the program that holds them, the one
// that takes them, and the one at their other ends. Each prints "ready" when all
// connections are there. The holder then waits for a line on stdin, exports them, and
// prints how many seconds that took.
//
//     bench_drain hold ADDRESS PORT COUNT TO-ADDRESS      listens; exports to that host
//     bench_drain take COUNT                              imports
//     bench_drain connect ADDRESS PORT COUNT              connects, until it is ended
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <sockmi/sockmi.h>

#include "base/address.h"
#include "base/unique_fd.h"
#include "stopwatch.h"

using namespace sockmi;
using namespace sockmi::bench;

namespace {

using Sockets = std::vector<unique_fd>;
constexpr unsigned kTogether = 64;  // in one import

void say(const std::string& line) {
  std::puts(line.c_str());
  std::fflush(stdout);
}

SocketAddress address(char** argv) {
  return {*IpAddress::parse(argv[0]), static_cast<std::uint16_t>(std::atoi(argv[1]))};
}

int hold(const SocketAddress& local, unsigned count, const IpAddress& to) {
  sockaddr_storage name;
  const socklen_t size = local.to(name);
  const unique_fd listener(::socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  must(::bind(listener.get(), reinterpret_cast<sockaddr*>(&name), size) == 0 &&
           ::listen(listener.get(), 4096) == 0,
       "listen");
  say("listening");
  Sockets sockets;
  while (sockets.size() < count)
    sockets.emplace_back(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  say("ready");
  std::vector<sockmi_export_socket_req> all;
  for (const unique_fd& socket : sockets)
    all.push_back({.fd = socket.get(), .state = SOCKMI_CONNECTED});
  while (std::getchar() != '\n') {
  }
  const sockmi_export_options options{.service = "web"};
  int gone = 0;
  const double us = time_of([&] {
    gone = sockmi_export_sockets(all.data(), count, to.family, to.bytes.data(), &options);
  });
  if (gone != static_cast<int>(count))
    std::fprintf(stderr, "%d of %u went: %s\n", gone, count, sockmi_last_error());
  say(std::to_string(us / 1e6));
  return gone == static_cast<int>(count) ? 0 : 1;
}

int take(unsigned count) {
  const unique_fd events(sockmi_event_open("web"));
  must(events.get() >= 0, sockmi_last_error());
  say("waiting");
  Sockets sockets;
  while (sockets.size() < count) {
    sockmi_import_socket_req requests[kTogether]{};
    for (auto& request : requests)
      request.criteria = {.states = SOCKMI_CONNECTED, .service = "web"};
    must(import_socket(requests, std::min<unsigned>(kTogether, count - sockets.size()), -1) > 0,
         sockmi_last_error());
    for (const auto& request : requests)
      if (request.state) sockets.emplace_back(request.fd);
  }
  say("ready");
  ::pause();
  return 0;
}

int connect(const SocketAddress& remote, unsigned count) {
  sockaddr_storage name;
  const socklen_t size = remote.to(name);
  Sockets sockets;
  while (sockets.size() < count) {
    sockets.emplace_back(::socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    must(::connect(sockets.back().get(), reinterpret_cast<sockaddr*>(&name), size) == 0, "connect");
  }
  say("ready");
  ::pause();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "hold" && argc == 6)
    return hold(address(argv + 2), static_cast<unsigned>(std::atoi(argv[4])),
                *IpAddress::parse(argv[5]));
  if (what == "take" && argc == 3) return take(static_cast<unsigned>(std::atoi(argv[2])));
  if (what == "connect" && argc == 5)
    return connect(address(argv + 2), static_cast<unsigned>(std::atoi(argv[4])));
  std::fprintf(stderr, "usage: see bench/drain.cc\n");
  return 2;
}
