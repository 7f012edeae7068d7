// The connections that an imported listener has accepted, and a home that does not
// answer.
#include "connections/accepted.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "base/spawn.h"
#include "test_host.h"

namespace sockmi::daemon {
namespace {

// Does not answer at first.
class SlowChannel : public cluster::ControlChannel {
 public:
  asio::awaitable<Result<Secret>> call(std::string, SocketAddress, Secret, milliseconds) override {
    if (--failures >= 0) co_return fail(EHOSTUNREACH, "silent");
    answered = true;
    co_return wire::pack_answer(Result<>());
  }
  void set_member_addresses(std::function<bool(const IpAddress&)>) override {}
  bool connected(const std::string&) const override { return false; }
  int failures = 3;
  bool answered = false;
};

TEST(AdoptAcceptedTest, AHomeThatDoesNotAnswerIsAskedAgain) {
  asio::io_context io;
  const TestFolder folder;
  TestHost host(io, Settings{.host = "B", .address = *IpAddress::parse("127.0.0.1")}, folder.path);
  host.use(std::make_unique<SlowChannel>());
  const auto& channel = static_cast<SlowChannel&>(*host.control);
  const unique_fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage raw{};
  socklen_t size = SocketAddress{*IpAddress::parse("127.0.0.1"), 0}.to(raw);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&raw), size), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&raw), &size);
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&raw), size), 0);
  const unique_fd accepted(::accept(listener.get(), nullptr, nullptr));
  const SocketAddress local = SocketAddress::from(reinterpret_cast<sockaddr*>(&raw));
  const ImportedConnection home{
      .tuple = {local, {}}, .service = "web", .home = "H", .home_control = local};

  spawn(io, "adopt",
        adopt_accepted(host.services, host.connections.table, host.connections.rules, local, home));
  io.run_for(std::chrono::seconds(10));  // returns when nothing is left to do

  EXPECT_TRUE(channel.answered);
  EXPECT_EQ(host.connections.table.imported().size(), 1u);
}

}  // namespace
}  // namespace sockmi::daemon
