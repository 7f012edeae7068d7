// The lower bound of a move: the time that the kernel needs to export a socket's state
// and to import it again, and one and a half round trips.
//
//     bench_floor echo ADDRESS PORT       answers every byte, until it is ended
//     bench_floor measure ADDRESS PORT    prints microseconds for each line that it reads
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <thread>

#include "base/address.h"
#include "base/freeze_mark.h"
#include "stopwatch.h"
#include "tcp/capture.h"
#include "tcp/restore.h"

using namespace sockmi;
using namespace sockmi::bench;

namespace {

// The marks of the daemon on the same host, whose rules drop what a frozen socket sends.
constexpr tcp::Marks kMarks{.freeze = kFreezeMark, .inject = kFreezeMark};

int echo(const sockaddr* address, socklen_t size) {
  const unique_fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  must(::bind(listener.get(), address, size) == 0 && ::listen(listener.get(), 16) == 0, "listen");
  std::puts("ready");
  std::fflush(stdout);
  for (;;) {
    const int accepted = ::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC);
    must(accepted >= 0, "accept");
    std::thread([connection = unique_fd(accepted)] {
      const int one = 1;
      ::setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      char byte;
      while (::read(connection.get(), &byte, 1) == 1)
        if (::write(connection.get(), &byte, 1) != 1) break;
    }).detach();
  }
}

void ping(int fd) {
  char byte = 'x';
  must(::write(fd, &byte, 1) == 1 && ::read(fd, &byte, 1) == 1, "echo");
}

// One move and one round trip for each line on stdin: as rare as the moves that they are
// compared with, and so with caches that are as cold.
int measure(const sockaddr* address, socklen_t size) {
  unique_fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int one = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  must(::connect(socket.get(), address, size) == 0, "connect");
  std::puts("ready");
  std::fflush(stdout);
  for (int c = std::getchar(); c != EOF; c = std::getchar()) {
    if (c != '\n') continue;
    const double move = time_of([&] {
      auto frozen = tcp::FrozenSocket::freeze(socket.get(), kMarks);
      must(frozen.has_value(), "freeze");
      auto image = frozen->capture();
      const auto delta = image ? frozen->received_since(*image)
                               : Result<tcp::FreezeDelta>(std::unexpected(image.error()));
      must(delta && frozen->destroy_silently(), "capture");
      socket.reset();
      auto restored = tcp::RestoredSocket::restore(*image, kMarks, false);
      must(restored && restored->receive(*delta), "restore");
      auto live = std::move(*restored).thaw();
      must(live.has_value(), "thaw");
      socket = std::move(*live);
    });
    const double trip = time_of([&] { ping(socket.get()); });
    std::puts(std::to_string(move + 1.5 * trip).c_str());
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const auto ip = IpAddress::parse(argc > 3 ? argv[2] : "");
  if (!ip) {
    std::fputs("usage: bench_floor echo|measure ADDRESS PORT\n", stderr);
    return 2;
  }
  sockaddr_storage address;
  const socklen_t size =
      SocketAddress{*ip, static_cast<std::uint16_t>(std::atoi(argv[3]))}.to(address);
  const auto* target = reinterpret_cast<const sockaddr*>(&address);
  return std::strcmp(argv[1], "echo") == 0 ? echo(target, size) : measure(target, size);
}
