#include "proxy/server.h"

#include <csignal>
#include <future>

#include <gtest/gtest.h>

#include "unit/temporary_folder.h"

namespace sockmi::proxy {
namespace {

TEST(Server, AnExceptionAtSighupDoesNotEndIt) {
  const test::TemporaryFolder folder;
  const std::string text = "threads = 1\n[listener.a]\nlisten = ['unix:" + folder.path.string() +
                           "/a']\nservice = 'b'\n[service.b.backend.c]\naddress = 'unix:/c'\n";
  int calls = 0;
  std::promise<void> thrown, read_again;
  Server server([&]() -> Result<Config> {
    ++calls;
    if (calls == 2) {
      thrown.set_value();
      throw std::bad_alloc();
    }
    if (calls == 3) read_again.set_value();
    return parse_config(text, "f");
  });
  const auto started = server.start();
  ASSERT_TRUE(started) << started.error().reason;
  std::thread thread([&] { server.run(); });

  std::raise(SIGHUP);
  EXPECT_EQ(thrown.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);
  std::raise(SIGHUP);
  EXPECT_EQ(read_again.get_future().wait_for(std::chrono::seconds(30)), std::future_status::ready);

  std::raise(SIGTERM);
  thread.join();
}

}  // namespace
}  // namespace sockmi::proxy
