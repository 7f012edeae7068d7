#include "proxy/client_limit.h"

#include <gtest/gtest.h>

namespace sockmi::proxy {
namespace {

TEST(ClientLimit, EachClientHasAsManyAsItMay) {
  const auto limit = std::make_shared<ClientLimit>();
  const auto one = *IpAddress::parse("192.0.2.1"), other = *IpAddress::parse("192.0.2.2");
  auto first = limit->acquire(one, 2);
  const auto second = limit->acquire(one, 2);

  EXPECT_EQ(limit->acquire(one, 2).error().code, EDQUOT);
  EXPECT_TRUE(limit->acquire(other, 2));
  *first = ClientLimit::Slot();
  EXPECT_TRUE(limit->acquire(one, 2));
}

TEST(ClientLimit, AnIpv6ClientHasItsWholePrefix) {
  const auto limit = std::make_shared<ClientLimit>();
  const auto first = limit->acquire(*IpAddress::parse("2001:db8::1"), 1);

  EXPECT_FALSE(limit->acquire(*IpAddress::parse("2001:db8::ffff:1"), 1));
  EXPECT_TRUE(limit->acquire(*IpAddress::parse("2001:db8:0:1::1"), 1));
}

TEST(ClientLimit, ClientsOfUnixSocketsAreNotCounted) {
  const auto limit = std::make_shared<ClientLimit>();
  const auto first = limit->acquire({}, 1);

  EXPECT_TRUE(limit->acquire({}, 1));
}

}  // namespace
}  // namespace sockmi::proxy
