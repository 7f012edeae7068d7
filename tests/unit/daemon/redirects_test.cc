// A kernel that refuses for a moment to remove a redirect.
#include "connections/redirects.h"

#include <gtest/gtest.h>

#include "test_host.h"

namespace sockmi::daemon {
namespace {

// Nothing ends the redirect of a port by itself.
class StubbornSteering : public FakeSteering {
 public:
  Result<> remove_port_redirect(const SocketAddress&) override {
    if (--failures >= 0) return fail(ENOBUFS, "no memory");
    removed = true;
    return {};
  }
  int failures = 2;
  bool removed = false;
};

TEST(StopRedirectingTest, APortIsGivenBackAsSoonAsTheKernelAllowsIt) {
  asio::io_context io;
  const TestFolder folder;
  TestHost host(io, Settings{.host = "A", .address = *IpAddress::parse("127.0.0.1")}, folder.path,
                std::make_unique<StubbornSteering>());
  const auto& steering = static_cast<StubbornSteering&>(host.fake_steering);

  stop_redirecting(host.services, host.connections.table,
                   {*SocketAddress::parse("127.0.0.1:1"), {}});

  EXPECT_FALSE(steering.removed);
  io.run_for(std::chrono::seconds(5));  // returns when nothing is left to do
  EXPECT_TRUE(steering.removed);
}

}  // namespace
}  // namespace sockmi::daemon
