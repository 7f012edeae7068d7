// Uses this kernel's BPF, if the process may load programs.
#include "congestion/cwnd_carrier.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <sys/socket.h>

#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "base/unique_fd.h"

namespace sockmi::congestion {
namespace {

std::string controls() {
  std::ifstream file("/proc/sys/net/ipv4/tcp_available_congestion_control");
  return {std::istreambuf_iterator<char>(file), {}};
}

class CwndCarrierTest : public testing::Test {
 protected:
  void SetUp() override {
    const unique_fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
    socket_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    peer_.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    image_.mss = 1448;
    image_.snd_cwnd = 321;
    image_.snd_ssthresh = 123;
    image_.srtt_us = 40'000;
    image_.window = std::make_unique<wire::Window>(0, 4'000'000, 4'000'000, 0, 0);
  }

  tcp_info info() const {
    tcp_info info{};
    socklen_t size = sizeof info;
    ::getsockopt(socket_.get(), IPPROTO_TCP, TCP_INFO, &info, &size);
    return info;
  }

  std::string control() const {
    char name[16] = {};
    socklen_t size = sizeof name - 1;
    ::getsockopt(socket_.get(), IPPROTO_TCP, TCP_CONGESTION, name, &size);
    return name;
  }

  std::uint64_t pacing_limit() const {
    std::uint64_t rate = 0;
    socklen_t size = sizeof rate;
    ::getsockopt(socket_.get(), SOL_SOCKET, SO_MAX_PACING_RATE, &rate, &size);
    return rate;
  }

  unique_fd socket_, peer_;
  wire::TcpT image_;
};

TEST_F(CwndCarrierTest, SetsWindowAndThresholdAndKeepsTheCongestionControl) {
  const CwndCarrier carrier = CwndCarrier::open();
  if (!carrier.form().starts_with("struct_ops ")) GTEST_SKIP() << carrier.form();
  ASSERT_EQ(::setsockopt(socket_.get(), IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
  const auto limit = pacing_limit();
  const auto done = carrier.carry(socket_.get(), image_);
  ASSERT_TRUE(done) << to_string(done.error());
  EXPECT_EQ(info().tcpi_snd_cwnd, 321u);
  EXPECT_EQ(info().tcpi_snd_ssthresh, 123u);
  EXPECT_EQ(info().tcpi_pacing_rate, 321ull * 1448 * 1'200'000 / 40'000);
  EXPECT_EQ(control(), "reno");
  EXPECT_EQ(pacing_limit(), limit);
  ASSERT_EQ(::send(socket_.get(), "x", 1, 0), 1);
  char byte = 0;
  EXPECT_EQ(::recv(peer_.get(), &byte, 1, 0), 1);
}

TEST_F(CwndCarrierTest, ChangesNothingForAnImageWithoutAWindow) {
  const CwndCarrier carrier = CwndCarrier::open();
  image_.snd_cwnd = 0;
  const auto before = info();
  ASSERT_TRUE(carrier.carry(socket_.get(), image_));
  EXPECT_EQ(info().tcpi_snd_cwnd, before.tcpi_snd_cwnd);
  EXPECT_EQ(info().tcpi_snd_ssthresh, before.tcpi_snd_ssthresh);
}

TEST_F(CwndCarrierTest, TwoCarriersCoexist) {
  const CwndCarrier one = CwndCarrier::open(), other = CwndCarrier::open();
  if (!one.form().starts_with("struct_ops ")) GTEST_SKIP() << one.form();
  EXPECT_TRUE(other.form().starts_with("struct_ops ")) << other.form();
  EXPECT_NE(other.form(), one.form());
}

TEST(CwndCarrier, LeavesNothingInTheKernelAfterItsEnd) {
  std::string name;
  {
    const CwndCarrier carrier = CwndCarrier::open();
    if (!carrier.form().starts_with("struct_ops ")) GTEST_SKIP() << carrier.form();
    name = carrier.form().substr(carrier.form().find(' ') + 1);
    EXPECT_NE(controls().find(name), std::string::npos);
  }
  EXPECT_EQ(controls().find(name), std::string::npos);
}

}  // namespace
}  // namespace sockmi::congestion
