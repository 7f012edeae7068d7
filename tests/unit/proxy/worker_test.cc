#include "proxy/worker.h"

#include <sys/socket.h>

#include <gtest/gtest.h>
#include <boost/asio/post.hpp>

namespace sockmi::proxy {
namespace {

namespace asio = boost::asio;

asio::awaitable<void> serve_nothing(Worker&, Accepted, Counted) {
  co_return;
}

std::unique_ptr<Stream> open_stream(unique_fd& peer) {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
  peer.reset(fds[1]);
  return std::make_unique<PlainStream>(unique_fd(fds[0]));
}

TEST(Worker, ARelayThatBeginsDuringTheAbortEndsAtOnce) {
  Worker worker(serve_nothing, [] {});
  bool aborted = false;
  worker.abort_all([&] { aborted = true; });
  worker.io().poll();
  ASSERT_TRUE(aborted);
  unique_fd client, backend;
  Relay::Parts parts;
  parts.client = open_stream(client);
  parts.backend = open_stream(backend);
  std::string end;

  worker.run(std::make_shared<RelayRunner>(
      worker.io().get_executor(), StoppedRelay(std::move(parts), std::chrono::hours(1),
                                               [&](const RelayRunner*, const RelayState&,
                                                   std::string_view error) { end = error; })));

  EXPECT_EQ(end, "the proxy stops");
  char byte;
  EXPECT_EQ(::recv(client.get(), &byte, 1, 0), 0);
  EXPECT_EQ(::recv(backend.get(), &byte, 1, 0), 0);
}

TEST(Worker, AnExceptionOfAHandlerDoesNotEndTheLoop) {
  Worker worker(serve_nothing, [] {});
  bool continued = false;
  asio::post(worker.io(), [] { throw std::bad_alloc(); });
  asio::post(worker.io(), [&] {
    continued = true;
    worker.io().stop();
  });

  worker.run_loop();

  EXPECT_TRUE(continued);
}

}  // namespace
}  // namespace sockmi::proxy
