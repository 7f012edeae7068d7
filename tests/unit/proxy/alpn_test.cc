#include "proxy/alpn.h"

#include <gtest/gtest.h>

namespace sockmi::proxy {
namespace {

Bytes bytes(std::string_view text) {
  return {text.begin(), text.end()};
}

TEST(Alpn, ListsAreReadAndWritten) {
  const Protocols protocols{"h2", "http/1.1"};

  EXPECT_EQ(write_protocols(protocols), bytes("\2h2\10http/1.1"));
  EXPECT_EQ(read_protocols(write_protocols(protocols)), protocols);
}

TEST(Alpn, MalformedAndLongListsAreRefused) {
  EXPECT_EQ(read_protocols(bytes("\3h2")).error().code, EPROTO);
  EXPECT_EQ(read_protocols(Bytes{0}).error().code, EPROTO);
  const Protocols many(kMaxProtocolListBytes / 2 + 1, "x");
  EXPECT_EQ(read_protocols(write_protocols(many)).error().code, EPROTO);
}

TEST(Alpn, CommonProtocolsHaveTheOrderOfTheService) {
  EXPECT_EQ(common_protocols({"h2", "x", "y"}, {"y", "z", "h2"}), (Protocols{"h2", "y"}));
  EXPECT_EQ(common_protocols({"h2"}, {"x"}).error().code, EPROTONOSUPPORT);
}

TEST(Alpn, AServiceWithoutAListTakesWhatIsOffered) {
  EXPECT_EQ(common_protocols({}, {"x", "y"}), (Protocols{"x", "y"}));
  EXPECT_EQ(common_protocols({"h2"}, {}), Protocols{});
}

}  // namespace
}  // namespace sockmi::proxy
