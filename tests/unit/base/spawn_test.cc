#include "base/spawn.h"

#include <csignal>
#include <stdexcept>

#include <gtest/gtest.h>
#include <boost/asio/io_context.hpp>

namespace sockmi {
namespace {

boost::asio::awaitable<void> fails() {
  throw std::runtime_error("no memory");
  co_return;
}

// A loop that ends silently leaves a daemon that looks healthy and does nothing.
TEST(Spawn, AnExceptionEndsTheProcess) {
  const auto run = [] {
    boost::asio::io_context io;
    spawn(io, "a_loop", fails());
    io.run();
  };
  EXPECT_EXIT(run(), testing::KilledBySignal(SIGABRT), "");
}

TEST(Spawn, AnExceptionInTheTaskOfAClientEndsThatTaskOnly) {
  boost::asio::io_context io;
  bool other = false;
  spawn(io, "a_client", fails(), OnException::EndTask);
  const auto runs = [&]() -> boost::asio::awaitable<void> {
    other = true;
    co_return;
  };
  spawn(io, "another", runs(), OnException::EndTask);
  io.run();
  EXPECT_TRUE(other);
}

}  // namespace
}  // namespace sockmi
