#include "base/printable.h"

#include <gtest/gtest.h>

namespace sockmi {
namespace {

TEST(Printable, TextOfAnyScriptIsKept) {
  for (const char* text : {"", "plain \"text\" \\ ~", "größe", "主机", "\U0001F600"})
    EXPECT_EQ(printable(text), text);
}

TEST(Printable, ControlsAreEscaped) {
  EXPECT_EQ(printable(std::string_view("a\0\n\r\t\x1b[2J\x7f", 10)),
            "a\\x00\\x0a\\x0d\\x09\\x1b[2J\\x7f");
  EXPECT_EQ(printable("\u009b1m"), "\\xc2\\x9b1m");
}

TEST(Printable, SeparatorsAndDirectionsAreEscaped) {
  EXPECT_EQ(printable("\u2028"), "\\xe2\\x80\\xa8");
  EXPECT_EQ(printable("\u202e"), "\\xe2\\x80\\xae");
  EXPECT_EQ(printable("\u2066"), "\\xe2\\x81\\xa6");
}

TEST(Printable, BytesThatAreNotUtf8AreEscaped) {
  EXPECT_EQ(printable("\xff"), "\\xff");
  EXPECT_EQ(printable("\xc3"), "\\xc3");
  EXPECT_EQ(printable("\xc3x"), "\\xc3x");
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

}  // namespace
}  // namespace sockmi
