#include "base/log.h"

#include <gtest/gtest.h>

#include "base/address.h"

namespace sockmi {
namespace {

using std::chrono::microseconds;

std::string value_of(const log::Value& value) {
  const std::string line = log::line_of("thing_happened", {{"key", value}});
  const std::string_view before = "event=thing_happened key=";
  EXPECT_TRUE(line.starts_with(before)) << line;
  return line.substr(before.size());
}

TEST(Log, WritesWordsAsTheyAre) {
  EXPECT_EQ(value_of("hostA"), "hostA");
  EXPECT_EQ(value_of(std::string("/run/sockmid/late-00")), "/run/sockmid/late-00");
  EXPECT_EQ(value_of(true), "true");
  EXPECT_EQ(value_of(-7), "-7");
  EXPECT_EQ(value_of(std::uint64_t{18446744073709551615u}), "18446744073709551615");
  EXPECT_EQ(value_of(*SocketAddress::parse("[fd00::1]:80")), "[fd00::1]:80");
  EXPECT_EQ(value_of(FourTuple{*SocketAddress::parse("10.0.0.1:80"),
                               *SocketAddress::parse("10.0.0.9:4000")}),
            "10.0.0.1:80<-10.0.0.9:4000");
}

TEST(Log, WritesDurationsWithTheirUnit) {
  EXPECT_EQ(value_of(microseconds(440)), "440us");
  EXPECT_EQ(value_of(std::chrono::milliseconds(12)), "12ms");
  EXPECT_EQ(value_of(std::chrono::hours(1)), "3600s");
}

TEST(Log, QuotesTextThatIsNoWord) {
  EXPECT_EQ(value_of(""), "\"\"");
  EXPECT_EQ(value_of("not here"), "\"not here\"");
  EXPECT_EQ(value_of("a=b"), "\"a=b\"");
  EXPECT_EQ(value_of(Error{ENOENT, "no such host"}), "\"no such host (ENOENT)\"");
  EXPECT_EQ(value_of("Zürich, 東京"), "\"Zürich, 東京\"");
}

TEST(Log, KeepsAHostileValueInItsQuotes) {
  EXPECT_EQ(value_of("x\nlevel=critical event=forged"), R"("x\nlevel=critical event=forged")");
  EXPECT_EQ(value_of("x\" event=forged y=\""), R"("x\" event=forged y=\"")");
  EXPECT_EQ(value_of("x\\"), R"("x\\")");
  EXPECT_EQ(value_of("x\\\" event=forged"), R"("x\\\" event=forged")");
  EXPECT_EQ(value_of("\r\x1b[2J\t"), R"("\r\x1b[2J\t")");
  EXPECT_EQ(value_of(std::string_view("a\0b", 3)), R"("a\x00b")");
  EXPECT_EQ(value_of(Error{EIO, "a\nb"}), R"-("a\nb (EIO)")-");
}

TEST(Log, EscapesWhatIsNoUtf8OrReachesATerminal) {
  EXPECT_EQ(value_of("\xff\xfe"), R"("\xff\xfe")");
  EXPECT_EQ(value_of("\xc0\x8a"), R"("\xc0\x8a")");              // a newline, too long
  EXPECT_EQ(value_of("\xed\xa0\x80"), R"("\xed\xa0\x80")");      // a surrogate
  EXPECT_EQ(value_of("\xe6\x9d"), R"("\xe6\x9d")");              // a part of a character
  EXPECT_EQ(value_of("\xc2\x9b["), R"("\xc2\x9b[")");            // a C1 control
  EXPECT_EQ(value_of("\xe2\x80\xa8"), R"("\xe2\x80\xa8")");      // a line separator
  EXPECT_EQ(value_of("\xe2\x80\xaezy"), R"("\xe2\x80\xaezy")");  // from right to left
}

TEST(Log, CutsALongValue) {
  const std::string word = value_of(std::string(100'000, 'x'));
  EXPECT_EQ(word, '"' + std::string(log::kMaxValueBytes, 'x') + " [99000 more bytes]\"");

  const std::string escaped = value_of(std::string(100'000, '\n'));
  EXPECT_EQ(escaped.size(), log::kMaxValueBytes + std::string("\"\" [99500 more bytes]").size());

  // A cut neither divides a character nor an escape sequence.
  const std::string divided = value_of(std::string(log::kMaxValueBytes - 1, 'x') + "\"東");
  EXPECT_TRUE(divided.ends_with("x [4 more bytes]\"")) << divided.substr(990);
}

TEST(Log, WritesSeveralFields) {
  EXPECT_EQ(log::line_of("peer_heard", {}), "event=peer_heard");
  EXPECT_EQ(log::line_of("import_finished", {{"service", "web"}, {"count", 2u}, {"error", ""}}),
            "event=import_finished service=web count=2 error=\"\"");
}

}  // namespace
}  // namespace sockmi
