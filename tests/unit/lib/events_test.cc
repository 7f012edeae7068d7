// Events are read from the descriptor that sockmi_event_open() has returned, and from no
// other one that has its number later. The test acts as the daemon.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <future>
#include <string>

#include <gtest/gtest.h>
#include <sockmi/sockmi.h>

#include "base/unique_fd.h"
#include "unit/daemon_socket.h"

namespace {

using sockmi::unique_fd;

const std::string kImport = "event: import\ndata: {}\n\n";

class Events : public testing::Test {
 protected:
  // Registers. Returns the descriptor; `daemon` becomes the daemon's end.
  int open(unique_fd& daemon) {
    auto serving = std::async(std::launch::async, [this] {
      unique_fd client = socket_.accept();
      char request[4096];
      EXPECT_GT(::recv(client.get(), request, sizeof request, 0), 0);
      send(client, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
      return client;
    });
    const int fd = sockmi_event_open("web");
    daemon = serving.get();
    EXPECT_GE(fd, 0) << sockmi_last_error();
    return fd;
  }
  static void send(const unique_fd& to, const std::string& text) {
    EXPECT_EQ(::send(to.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  static bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }
  // Returns whether the other end of the daemon's connection is closed.
  static bool has_ended(const unique_fd& daemon) {
    char byte;
    return ::recv(daemon.get(), &byte, 1, 0) == 0;
  }

  // Returns a descriptor of the same file with this number, which must be free.
  static unique_fd with_number(int number, unique_fd file) {
    if (file.get() == number) return file;
    EXPECT_FALSE(is_open(number));
    return unique_fd(::dup3(file.get(), number, O_CLOEXEC));
  }

  // Sends the first half of an event, which the registration reads.
  static void send_half(const unique_fd& daemon, int fd) {
    sockmi_event event;
    send(daemon, kImport.substr(0, 10));
    EXPECT_EQ(sockmi_event_next(fd, &event), 0);
  }

  static void expect_foreign(int fd) {
    sockmi_event event;
    EXPECT_EQ(sockmi_event_next(fd, &event), -1);
    EXPECT_EQ(errno, EBADF);
    EXPECT_EQ(sockmi_event_close(fd), -1);
    EXPECT_EQ(errno, EBADF);
  }

  const sockmi::test::DaemonSocket socket_;
};

TEST_F(Events, AnEventMayArriveInPieces) {
  unique_fd daemon;
  const int fd = open(daemon);
  sockmi_event event;
  EXPECT_EQ(sockmi_event_next(fd, &event), 0);
  send_half(daemon, fd);
  send(daemon, kImport.substr(10));
  EXPECT_EQ(sockmi_event_next(fd, &event), 1);
  EXPECT_EQ(event.type, SOCKMI_EVENT_IMPORT);
  EXPECT_EQ(sockmi_event_close(fd), 0);
}

TEST_F(Events, ReservedFieldsOfAnEventAreZero) {
  unique_fd daemon;
  const int fd = open(daemon);
  send(daemon,
       "event: export\ndata: {\"request\":7,\"local\":{\"ip\":\"192.0.2.1\",\"prefix\":32,"
       "\"port\":443},\"remote\":{},\"to\":\"192.0.2.2\"}\n\n");
  sockmi_event event;
  std::memset(&event, 0xff, sizeof event);
  ASSERT_EQ(sockmi_event_next(fd, &event), 1);
  EXPECT_EQ(event.type, SOCKMI_EVENT_EXPORT);
  EXPECT_EQ(event.request, 7u);
  EXPECT_EQ(event.local.port, 443);
  EXPECT_EQ(event.af, AF_INET);
  for (const auto part : event.reserved)
    EXPECT_EQ(part, 0u);
  for (const sockmi_match& match : {event.local, event.remote})
    for (const auto part : match.reserved)
      EXPECT_EQ(part, 0u);
  EXPECT_EQ(sockmi_event_close(fd), 0);
}

TEST_F(Events, CloseEndsTheRegistration) {
  unique_fd daemon;
  const int fd = open(daemon);
  EXPECT_EQ(sockmi_event_close(fd), 0);
  EXPECT_FALSE(is_open(fd));
  EXPECT_TRUE(has_ended(daemon));
  expect_foreign(fd);
}

TEST_F(Events, CloseLeavesAForeignDescriptorOpen) {
  const unique_fd foreign(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  expect_foreign(foreign.get());
  EXPECT_TRUE(is_open(foreign.get()));
}

// close(2) is allowed, too. Whatever has the number then, a socket or another file, is
// neither read nor closed.
TEST_F(Events, ARegistrationDoesNotOutliveItsDescriptor) {
  unique_fd daemon;
  const int fd = open(daemon);
  send_half(daemon, fd);
  ::close(fd);
  expect_foreign(fd);

  std::array<int, 2> ends;
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  const unique_fd other(ends[1]);
  unique_fd reused = with_number(fd, unique_fd(ends[0]));
  send(other, kImport);
  expect_foreign(fd);
  std::string bytes(kImport.size(), 0);
  EXPECT_EQ(::recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT),
            static_cast<ssize_t>(bytes.size()))
      << "they are not sockmi's";

  reused.reset();
  reused = with_number(fd, unique_fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
  expect_foreign(fd);
  EXPECT_TRUE(is_open(fd));
}

// A new registration with the number of a closed one begins with nothing read.
TEST_F(Events, ANewRegistrationStartsWithoutBytesOfAnOlderOne) {
  unique_fd daemon;
  const int fd = open(daemon);
  sockmi_event event;
  send_half(daemon, fd);
  ::close(fd);
  const int next = open(daemon);
  send(daemon, kImport.substr(10) + kImport);
  EXPECT_EQ(sockmi_event_next(next, &event), 1) << sockmi_last_error();
  EXPECT_EQ(sockmi_event_next(next, &event), 0) << "the first half was that of another one";
  EXPECT_EQ(sockmi_event_close(next), 0);
}

}  // namespace
