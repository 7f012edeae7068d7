// The tutorial's client: sends a numbered line at an interval and prints the replies. It
// does not use sockmi.
//
//     echo_client ADDRESS:PORT [MILLISECONDS [COUNT]]
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

int main(int argc, char** argv) {
  std::string address = argc > 1 ? argv[1] : "";
  const auto colon = address.rfind(':');
  if (colon == std::string::npos) {
    std::fprintf(stderr, "usage: echo_client ADDRESS:PORT [MILLISECONDS [COUNT]]\n");
    return 2;
  }
  const long interval = argc > 2 ? std::atol(argv[2]) : 1000,
             count = argc > 3 ? std::atol(argv[3]) : -1;
  setvbuf(stdout, nullptr, _IOLBF, 0);
  sockaddr_in server{};
  server.sin_family = AF_INET;
  server.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  address.resize(colon);
  inet_pton(AF_INET, address.c_str(), &server.sin_addr);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, reinterpret_cast<sockaddr*>(&server), sizeof server) != 0) {
    std::perror("connect");
    return 1;
  }
  const int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  const timespec pause{interval / 1000, interval % 1000 * 1000000};
  const itimerspec times{pause, pause};
  timerfd_settime(timer, 0, &times, nullptr);
  for (long i = 1; count < 0 || i <= count; ++i) {
    const std::string line = "hello " + std::to_string(i) + "\n";
    if (send(fd, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
      break;
    std::string reply;
    while (reply.find('\n') == std::string::npos) {
      char bytes[4096];
      const ssize_t size = recv(fd, bytes, sizeof bytes, 0);
      if (size <= 0) {
        std::printf("the connection broke\n");
        return 1;
      }
      reply.append(bytes, static_cast<size_t>(size));
    }
    std::printf("%s", reply.c_str());
    uint64_t ticks;
    if (read(timer, &ticks, sizeof ticks) < 0) break;
  }
  close(fd);
  return 0;
}
