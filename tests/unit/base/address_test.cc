#include "base/address.h"

#include <gtest/gtest.h>

namespace sockmi {
namespace {

TEST(Address, PrintsWhatItParsed) {
  for (const char* text :
       {"10.0.0.1:80", "[fd00::1]:8443", "255.255.255.255:65535", "[::ffff:10.0.0.1]:1"}) {
    const auto address = SocketAddress::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(to_string(*address), text);
  }
}

TEST(Address, ParseRefusesMalformedText) {
  for (const char* text :
       {"", ":", "10.0.0.1", "10.0.0.1:", "10.0.0.1:65536", "10.0.0.1:-1", "10.0.0.256:80",
        "[fd00::1:80", "fd00::1]:80", "host:80", "10.0.0.1:80x"})
    EXPECT_FALSE(SocketAddress::parse(text)) << text;
}

TEST(Address, ParseRefusesAZeroByte) {
  using namespace std::string_view_literals;
  EXPECT_FALSE(IpAddress::parse("10.0.0.1\0"sv));
  EXPECT_FALSE(IpAddress::parse("fd00::1\0x"sv));
  EXPECT_FALSE(SocketAddress::parse("10.0.0.1\0x:80"sv));
}

TEST(Address, ConvertsToSockaddrAndBack) {
  for (const char* text : {"10.0.0.1:80", "[fd00::1]:8443"}) {
    sockaddr_storage raw{};
    EXPECT_GT(SocketAddress::parse(text)->to(raw), 0u);
    EXPECT_EQ(to_string(SocketAddress::from(reinterpret_cast<const sockaddr*>(&raw))), text);
  }
}

TEST(Address, InPrefixComparesTheLeadingBits) {
  const auto ip = *IpAddress::parse("10.1.2.3");
  EXPECT_TRUE(ip.in_prefix(*IpAddress::parse("10.1.2.2"), 31));
  EXPECT_FALSE(ip.in_prefix(*IpAddress::parse("10.1.2.2"), 32));
  EXPECT_TRUE(ip.in_prefix(*IpAddress::parse("192.0.2.1"), 0));
  EXPECT_FALSE(ip.in_prefix(*IpAddress::parse("fd00::"), 0)) << "another family";
  EXPECT_TRUE(ip.in_prefix(IpAddress(), 0)) << "any";
  EXPECT_FALSE(ip.in_prefix(*IpAddress::parse("10.1.2.3"), 33)) << "there are no 33 bits";
}

TEST(Address, UnmappedTurnsMappedIpv6IntoIpv4) {
  EXPECT_EQ(IpAddress::parse("::ffff:10.0.0.1")->unmapped(), *IpAddress::parse("10.0.0.1"));
  EXPECT_EQ(IpAddress::parse("fd00::1")->unmapped(), *IpAddress::parse("fd00::1"));
}

}  // namespace
}  // namespace sockmi
