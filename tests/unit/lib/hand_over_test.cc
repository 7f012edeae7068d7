// After a hand-over the calling process knows whether it still has the socket, whatever
// the daemon does. The test acts as the daemon, and as the process that gets the socket.
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <future>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sockmi/appsockmi.h>

#include "base/token.h"
#include "base/unique_fd.h"
#include "unit/daemon_http.h"
#include "unit/daemon_socket.h"

namespace {

using namespace sockmi;

class HandOver : public testing::Test {
 protected:
  struct Request : test::DaemonRequest {
    unique_fd client;

    Token token(std::size_t i) { return *Token::adopt(unique_fd(::dup(descriptors.at(i).get()))); }
    void answer(const std::string& body, int status = 200) const {
      EXPECT_TRUE(test::answer(client.get(), status, body));
    }
  };
  Request receive() const {
    unique_fd client = socket_.accept();
    auto request = test::read_request(client.get());
    EXPECT_TRUE(request) << "the library has closed";
    return {std::move(request).value_or(test::DaemonRequest()), std::move(client)};
  }

  // Two ends that stand for a connection.
  void SetUp() override {
    std::array<int, 2> ends;
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    ours_.reset(ends[0]);
    peer_.reset(ends[1]);
  }
  // Hands the socket over. Returns the errno.
  std::future<int> hand_over(int timeout = 20'000) {
    return std::async(std::launch::async, [this, timeout] {
      sockmi_export_options options{};
      options.flags = SOCKMI_HAND_OVER;
      options.timeout = timeout;
      const int done =
          sockmi_export_socket_with(ours_.get(), SOCKMI_CONNECTED, AF_UNSPEC, nullptr, &options);
      return done == 0 ? 0 : errno;
    });
  }
  bool is_ours() {
    const char byte = 'x';
    if (::send(peer_.get(), &byte, 1, MSG_NOSIGNAL) != 1) return false;
    char got = 0;
    return ::recv(ours_.get(), &got, 1, MSG_DONTWAIT) == 1 && got == byte;
  }

  const test::DaemonSocket socket_;
  unique_fd ours_, peer_;
};

constexpr const char* kDone = R"({"results":[{"errno":0,"error":""}]})";

TEST_F(HandOver, AsksForOneWithTheSocketAndAToken) {
  auto outcome = hand_over();
  Request request = receive();
  EXPECT_TRUE(request.line.starts_with("POST /v1/hand-overs ")) << request.line;
  ASSERT_EQ(request.descriptors.size(), 2u);
  EXPECT_TRUE(request.token(1).take());
  request.answer(kDone);
  EXPECT_EQ(outcome.get(), 0);
}

TEST_F(HandOver, LeavesADeadDescriptorThatNoEpollSetHas) {
  const unique_fd set(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN;
  ASSERT_EQ(::epoll_ctl(set.get(), EPOLL_CTL_ADD, ours_.get(), &event), 0);
  auto outcome = hand_over();
  Request request = receive();
  EXPECT_TRUE(request.token(1).take());
  request.answer(kDone);
  ASSERT_EQ(outcome.get(), 0);
  EXPECT_FALSE(is_ours());
  char byte;
  EXPECT_EQ(::recv(request.descriptors[0].get(), &byte, 1, MSG_DONTWAIT), 1);
  ASSERT_EQ(::send(peer_.get(), "y", 1, 0), 1);
  EXPECT_EQ(::epoll_wait(set.get(), &event, 1, 0), 0) << "it hears of the other's socket";
  EXPECT_EQ(::shutdown(ours_.get(), SHUT_RDWR), -1);
  EXPECT_EQ(errno, ENOTCONN);
  EXPECT_EQ(::fcntl(ours_.get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(HandOver, TheTokenCountsAndNotWhatTheDaemonSays) {
  struct Case {
    const char* what;
    bool taken;
    std::function<void(const Request&)> end;
    int expected;
  };
  const std::vector<Case> cases = {
      {"says done, and nobody took it", false, [](const Request& r) { r.answer(kDone); }, EBADMSG},
      {"says failed, and it was taken", true,
       [](const Request& r) {
         r.answer(R"({"results":[{"errno":110,"error":"no process has taken it in time"}]})");
       },
       0},
      {"refuses", false,
       [](const Request& r) { r.answer(R"({"error":"not you","errno":13})", 403); }, EACCES},
      {"does not know hand-overs", false,
       [](const Request& r) { r.answer(R"({"error":"unknown resource"})", 404); }, EBADMSG},
      {"dies, and nobody took it", false, [](const Request&) {}, ECONNRESET},
      {"dies, and it was taken", true, [](const Request&) {}, 0},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(each.what);
    SetUp();
    auto outcome = hand_over();
    Request request = receive();
    if (each.taken) {
      EXPECT_TRUE(request.token(1).take());
    }
    each.end(request);
    Token late = request.token(1);
    request.client.reset();
    EXPECT_EQ(outcome.get(), each.expected);
    EXPECT_EQ(is_ours(), each.expected != 0);
    EXPECT_FALSE(late.take()) << "a process could take it later";
  }
}

TEST_F(HandOver, ASilentDaemonGivesItBackInTime) {
  auto outcome = hand_over(200);
  Request request = receive();
  EXPECT_EQ(outcome.get(), ETIMEDOUT);
  EXPECT_FALSE(request.token(1).take());
  EXPECT_TRUE(is_ours());
}

TEST_F(HandOver, AGroupHasOneToken) {
  std::vector<sockmi_export_socket_req> requests(3);
  for (auto& each : requests) {
    each.fd = ours_.get();
    each.state = SOCKMI_CONNECTED;
    each.group = &each == &requests.back() ? 0 : 7;
  }
  const unique_fd alone(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  requests[2].fd = alone.get();
  auto outcome = std::async(std::launch::async, [&] {
    sockmi_export_options options{};
    options.flags = SOCKMI_HAND_OVER;
    return sockmi_export_sockets(requests.data(), 3, AF_UNSPEC, nullptr, &options);
  });
  Request request = receive();
  ASSERT_EQ(request.descriptors.size(), 5u) << "three sockets, two tokens";
  EXPECT_TRUE(request.token(3).take());
  request.client.reset();
  EXPECT_EQ(outcome.get(), 2);
  EXPECT_EQ(requests[0].error, 0);
  EXPECT_EQ(requests[1].error, 0);
  EXPECT_EQ(requests[2].error, ECONNRESET);
}

TEST_F(HandOver, AHostOrAnUnknownFlagIsRefused) {
  in_addr host{htonl(INADDR_LOOPBACK)};
  sockmi_export_options options{};
  options.flags = SOCKMI_HAND_OVER;
  EXPECT_EQ(sockmi_export_socket_with(0, SOCKMI_CONNECTED, AF_INET, &host, &options), -1);
  EXPECT_EQ(errno, EINVAL);
  options.flags = SOCKMI_HAND_OVER << 1;
  EXPECT_EQ(sockmi_export_socket_with(0, SOCKMI_CONNECTED, AF_UNSPEC, nullptr, &options), -1);
  EXPECT_EQ(errno, EINVAL);
}

}  // namespace
