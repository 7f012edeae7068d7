// The tutorial's server: echoes lines, each with this server's name before it. Its
// connections move when the operator runs `sockmictl export --service echo`, and it
// imports those that other hosts send.
//
//     echo_server NAME [ADDRESS:PORT]     without an address it only imports
#include <arpa/inet.h>
#include <poll.h>
#include <sockmi/sockmi.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

static const char* const kService = "echo";
static std::vector<pollfd> polled;  // the daemon's events, the listener (or -1), then the clients

static int make_listener(std::string address) {
  const auto colon = address.rfind(':');
  sockaddr_in local{};
  local.sin_family = AF_INET;
  local.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  address.resize(colon);
  inet_pton(AF_INET, address.c_str(), &local.sin_addr);
  const int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, reinterpret_cast<sockaddr*>(&local), sizeof local) != 0 || listen(fd, 16) != 0) {
    std::perror("listen");
    std::exit(1);
  }
  return fd;
}

static void import_all() {
  for (;;) {
    sockmi_import_socket_req request{};
    request.criteria.service = kService;
    if (import_socket(&request, 1, 0) <= 0) return;
    std::printf("imported a connection\n");
    polled.push_back({request.fd, POLLIN, 0});
    std::free(request.payload);
  }
}

static void export_all(const sockmi_event& event) {
  unsigned exported = 0, failed = 0;
  sockmi_export_options options{};
  options.service = kService;
  for (size_t i = 2; i < polled.size();) {
    if (sockmi_export_socket_with(polled[i].fd, SOCKMI_CONNECTED, event.af, event.to, &options) ==
        0) {
      std::printf("exported a connection\n");
      close(polled[i].fd);
      polled.erase(polled.begin() + static_cast<long>(i));
      ++exported;
    } else {  // it continues here
      std::printf("not exported: %s\n", sockmi_last_error());
      ++failed;
      ++i;
    }
  }
  sockmi_export_done(event.request, exported, failed);
}

static bool echo(int fd, const std::string& name) {
  char bytes[4096];
  const ssize_t size = recv(fd, bytes, sizeof bytes, 0);
  if (size <= 0) return false;
  const std::string reply = name + ": " + std::string(bytes, static_cast<size_t>(size));
  return send(fd, reply.data(), reply.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(reply.size());
}

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: echo_server NAME [ADDRESS:PORT]\n");
    return 2;
  }
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const int events = sockmi_event_open(kService);
  if (events < 0) {
    std::fprintf(stderr, "echo_server: %s\n", sockmi_last_error());
    return 1;
  }
  polled = {{events, POLLIN, 0}, {argc > 2 ? make_listener(argv[2]) : -1, POLLIN, 0}};
  std::printf("echo_server ready\n");
  while (poll(polled.data(), polled.size(), -1) > 0) {
    if (polled[0].revents) {
      sockmi_event event;
      int got;
      while ((got = sockmi_event_next(events, &event)) == 1)
        event.type == SOCKMI_EVENT_IMPORT ? import_all() : export_all(event);
      if (got < 0) break;  // the daemon is gone
      continue;            // the array that was polled has changed
    }
    if (polled[1].revents) polled.push_back({accept(polled[1].fd, nullptr, nullptr), POLLIN, 0});
    for (size_t i = 2; i < polled.size();) {
      if (polled[i].revents && !echo(polled[i].fd, argv[1])) {
        close(polled[i].fd);
        polled.erase(polled.begin() + static_cast<long>(i));
      } else {
        ++i;
      }
    }
  }
  return 0;
}
