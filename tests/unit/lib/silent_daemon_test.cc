// Every call ends even if the daemon does not answer, and its caller learns who owns the
// endpoint. The test acts as the daemon.
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <future>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sockmi/appsockmi.h>

#include "base/token.h"
#include "base/unique_fd.h"
#include "unit/daemon_socket.h"

namespace {

using namespace sockmi;

class SilentDaemon : public testing::Test {
 protected:
  // Returns a request, as far as it has arrived, and its last descriptor.
  static std::string receive(int client, unique_fd& last) {
    char bytes[65536], control[CMSG_SPACE(100 * sizeof(int))];
    iovec part{bytes, sizeof bytes};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = ::recvmsg(client, &message, MSG_CMSG_CLOEXEC);
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); got >= 0 && c; c = CMSG_NXTHDR(&message, c))
      for (std::size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
        last.reset(fd);
      }
    return {bytes, bytes + std::max<ssize_t>(got, 0)};
  }
  static void send(int client, const std::string& text) {
    EXPECT_EQ(::send(client, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }

  // Calls every function of the C API that asks a daemon, all in parallel: each fails
  // with ETIMEDOUT.
  static void expect_all_end() {
    static constexpr sockmi_export_options kShort{
        .service = nullptr, .payload = nullptr, .payload_len = 0, .timeout = 200};
    const std::vector<std::pair<const char*, std::function<int()>>> calls = {
        {"export_socket",
         [] {
           return sockmi_export_socket_with(0, SOCKMI_CONNECTED, AF_UNSPEC, nullptr, &kShort);
         }},
        {"sockmi_export_sockets",
         [] {
           std::vector<sockmi_export_socket_req> many(200, {.fd = 0,
                                                            .state = SOCKMI_CONNECTED,
                                                            .payload = nullptr,
                                                            .payload_len = 0,
                                                            .error = 0});
           const int gone = sockmi_export_sockets(many.data(), 200, AF_UNSPEC, nullptr, &kShort);
           for (const auto& one : many)
             EXPECT_EQ(one.error, ETIMEDOUT);
           return gone;
         }},
        {"import_socket",
         [] {
           sockmi_import_socket_req request{};
           return import_socket(&request, 1, 200);
         }},
        {"sockmi_event_open",
         [] {
           return sockmi_event_open(nullptr);
         }},
        {"sockmi_export_done",
         [] {
           return sockmi_export_done(1, 0, 0);
         }},
        {"sockmi_exports_done", [] {
           sockmi_export_answer answer{};
           return sockmi_exports_done(&answer, 1);
         }}};
    std::vector<std::future<std::pair<int, int>>> outcomes;
    for (const auto& [name, call] : calls)
      outcomes.push_back(std::async(std::launch::async, [&call = call] {
        const int result = call();
        return std::pair(result, errno);
      }));
    for (std::size_t i = 0; i < calls.size(); ++i)
      EXPECT_EQ(outcomes[i].get(), std::pair(-1, ETIMEDOUT)) << calls[i].first;
  }

  const test::DaemonSocket socket_;
};

TEST_F(SilentDaemon, CallsTimeOutIfTheDaemonDoesNotAccept) {
  ASSERT_EQ(::listen(socket_.listener(), 0), 0);
  std::vector<unique_fd> waiting;
  do
    waiting.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  while (::connect(waiting.back().get(), socket_.address(), socket_.kAddressSize) == 0);
  ASSERT_EQ(errno, EAGAIN);
  expect_all_end();
}

TEST_F(SilentDaemon, CallsTimeOutIfTheDaemonDoesNotRead) {
  expect_all_end();
}

TEST_F(SilentDaemon, CallsTimeOutIfTheAnswerIsIncomplete) {
  std::vector<unique_fd> clients;
  auto daemon = std::async(std::launch::async, [&] {
    while (clients.emplace_back(socket_.accept()))
      send(clients.back().get(), "HTTP/1.1 200 OK\r\nContent-Le");
  });
  expect_all_end();
  ::shutdown(socket_.listener(), SHUT_RD);
  daemon.get();
}

// Large requests do not fit into the socket's buffer.
TEST_F(SilentDaemon, ALargeRequestTimesOutIfTheDaemonDoesNotRead) {
  const std::string payload(SOCKMI_PAYLOAD_MAX, 'x');
  const sockmi_export_options large{
      .service = nullptr, .payload = payload.data(), .payload_len = payload.size(), .timeout = 200};
  EXPECT_EQ(sockmi_export_socket_with(0, SOCKMI_CONNECTED, AF_UNSPEC, nullptr, &large), -1);
  EXPECT_EQ(errno, ETIMEDOUT);
}

int export_one() {
  const sockmi_export_options options{
      .service = nullptr, .payload = nullptr, .payload_len = 0, .timeout = 200};
  return sockmi_export_socket_with(0, SOCKMI_CONNECTED, AF_UNSPEC, nullptr, &options) == 0 ? 0
                                                                                           : errno;
}

// A daemon that processes the request later finds that it may not.
TEST_F(SilentDaemon, ATimedOutExportCannotBeTakenLater) {
  ASSERT_EQ(export_one(), ETIMEDOUT);
  const unique_fd client = socket_.accept();
  unique_fd last;
  ASSERT_TRUE(receive(client.get(), last).starts_with("POST /v1/exports"));
  auto token = Token::adopt(std::move(last));
  ASSERT_TRUE(token);
  EXPECT_FALSE(token->take());
}

TEST_F(SilentDaemon, ALossAfterTheDecisionIsInProgress) {
  for (const bool dies : {true, false}) {
    auto exporting = std::async(std::launch::async, export_one);
    unique_fd client = socket_.accept(), last;
    (void)receive(client.get(), last);
    ASSERT_TRUE(Token::adopt(std::move(last))->take());
    if (dies) client.reset();
    EXPECT_EQ(exporting.get(), EINPROGRESS) << dies;
  }
}

TEST_F(SilentDaemon, ALossBeforeTheDecisionIsAPlainError) {
  auto exporting = std::async(std::launch::async, export_one);
  socket_.accept().reset();
  EXPECT_EQ(exporting.get(), ECONNRESET);
}

// The call waits for an answer if the daemon decided in time.
TEST_F(SilentDaemon, ADecidedExportWaitsForItsLateAnswer) {
  auto exporting = std::async(std::launch::async, export_one);
  const unique_fd client = socket_.accept();
  unique_fd last;
  (void)receive(client.get(), last);
  ASSERT_TRUE(Token::adopt(std::move(last))->take());
  send(client.get(), "HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\n{\"results\":[{\"errno\"");
  EXPECT_EQ(exporting.wait_for(std::chrono::milliseconds(1500)), std::future_status::timeout)
      << "it does not wait for the rest";
  send(client.get(), ":0,\"error\":\"\"}]}");
  EXPECT_EQ(exporting.get(), 0) << sockmi_last_error();
}

}  // namespace
