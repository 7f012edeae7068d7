#include "base/address_scope.h"

#include <gtest/gtest.h>

namespace sockmi {
namespace {

TEST(AddressScope, TellsLoopbackAddresses) {
  for (const char* text : {"127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"})
    EXPECT_TRUE(is_loopback(*IpAddress::parse(text))) << text;
  for (const char* text : {"128.0.0.1", "10.0.0.1", "::2", "::", "fe80::1"})
    EXPECT_FALSE(is_loopback(*IpAddress::parse(text))) << text;
  EXPECT_FALSE(is_loopback({}));
}

TEST(AddressScope, TellsLinkLocalAddresses) {
  for (const char* text : {"fe80::1", "febf::1"})
    EXPECT_TRUE(is_link_local(*IpAddress::parse(text))) << text;
  for (const char* text : {"fec0::1", "fd00::1", "169.254.0.1", "::1"})
    EXPECT_FALSE(is_link_local(*IpAddress::parse(text))) << text;
}

}  // namespace
}  // namespace sockmi
