// socket_app: holds TCP sockets and executes commands on them: one command per line on
// standard input, and one line of JSON each as the answer. It does nothing on its own, so
// that a test can bring a socket into any state and examine it from inside. Without a
// service it does not use sockmi, and stands for any host's program.
//
//     socket_app [SERVICE]     with a service: registers with sockmid, so that sockets of
//                              this service are offered to this host
//
// Sockets are named by their descriptors. What is sent is a part of a stream that a seed
// names (see bytes.cc). An answer is "reply NUMBER {…}": what was asked for, or
// {"error": errno, "reason": text}.
#include <poll.h>
#include <sockmi/sockmi.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <map>
#include <sstream>

#include "app.h"

namespace {

using namespace app;

const std::map<std::string, Json (*)(Words&)> kCommands = {
    {"socket", make_socket},           // FAMILY (4 or 6) → fd
    {"bind", app::bind},               // FD ADDRESS PORT
    {"listen", app::listen},           // FD BACKLOG
    {"connect", app::connect},         // FD ADDRESS PORT
    {"connect-later", connect_later},  // FD ADDRESS PORT: does not wait
    {"connected", wait_connected},     // FD MILLISECONDS
    {"disconnect", app::disconnect},   // FD: as connect(2) with AF_UNSPEC
    {"accept", app::accept},           // FD MILLISECONDS → fd
    {"shutdown", shut_down},           // FD: ends the sending direction
    {"close", app::close},             // FD
    {"state", state},                  // FD → TCP_INFO, queues and addresses
    {"setopt", set_option},            // FD LEVEL NAME HEX
    {"getopt", get_option},            // FD LEVEL NAME → value
    {"send", app::send},        // FD SEED FROM COUNT: bytes FROM to FROM + COUNT of the stream
    {"fill", fill},             // FD SEED FROM MOST → bytes: until no more is accepted
    {"recv", receive},          // FD COUNT → bytes, sha256, end
    {"recv-all", receive_all},  // FD → the same, until the end of the stream
    {"echo", echo},             // FD SIZE TIMES: receives that many bytes and sends them back
    {"ask",
     // FD SIZE TIMES SEED MICROSECONDS: waits for a random time up to that, sends SIZE
     // bytes, receives the same bytes.
     ask},
    {"pour", pour},  // FD COUNT: sends that many bytes
    {"sink", sink},  // FD COUNT → us: receives that many, from the first one to the last
    {"ping", ping},  // FD TIMES → us: the median time of a byte and its echo
    {"export", app::export_socket},            // FD STATE SERVICE [ADDRESS or "any" [MILLISECONDS]]
    {"export-together", app::export_sockets},  // SERVICE ADDRESS FD... → errors: connections
    {"export-groups", app::export_groups},     // SERVICE ADDRESS (FD STATE GROUP)... → errors
    {"import", app::import_socket},            // STATES SERVICE MILLISECONDS → fd, state
    {"import-groups", app::import_groups},     // COUNT SERVICE MILLISECONDS → fds, groups
};

Json answer(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> words{std::istream_iterator<std::string>(in), {}};
  Words arguments(std::move(words));
  try {
    return kCommands.at(arguments.word())(arguments);
  } catch (const std::system_error& error) {
    return {{"error", error.code().value()}, {"reason", error.what()}};
  } catch (const std::exception& error) {
    return {{"error", EINVAL}, {"reason", line + ": " + error.what()}};
  }
}

// The daemon's events are only read. An operator's request to export is answered with
// "none", because here only the test decides.
bool drain(int events) {
  sockmi_event event;
  int got;
  while ((got = sockmi_event_next(events, &event)) == 1)
    if (event.type == SOCKMI_EVENT_EXPORT) sockmi_export_done(event.request, 0, 0);
  return got == 0;
}

}  // namespace

int main(int argc, char** argv) {
  int events = -1;
  if (argc > 1 && (events = sockmi_event_open(argv[1])) < 0) {
    std::fprintf(stderr, "socket_app: %s\n", sockmi_last_error());
    return 1;
  }
  std::printf("socket_app ready\n");
  std::fflush(stdout);
  std::string unread;
  for (unsigned number = 0;;) {
    pollfd polled[] = {{STDIN_FILENO, POLLIN, 0}, {events, POLLIN, 0}};
    if (::poll(polled, 2, -1) < 0) return 1;
    if (polled[1].revents && !drain(events)) {  // the daemon is gone
      sockmi_event_close(events);
      events = -1;
    }
    if (!polled[0].revents) continue;
    char bytes[4096];
    const ssize_t got = ::read(STDIN_FILENO, bytes, sizeof bytes);
    if (got <= 0) return 0;
    unread.append(bytes, static_cast<std::size_t>(got));
    for (std::size_t end; (end = unread.find('\n')) != std::string::npos;
         unread.erase(0, end + 1)) {
      std::printf("reply %u %s\n", number++, answer(unread.substr(0, end)).dump().c_str());
      std::fflush(stdout);
    }
  }
}
