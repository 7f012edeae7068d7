#include "base/percent.h"

#include <gtest/gtest.h>

namespace sockmi {
namespace {

bool is_letter(unsigned char c) {
  return c >= 'a' && c <= 'z';
}

TEST(Percent, EncodesWhatIsNotPlainAndDecodesItAgain) {
  const std::string text("a b%c\n\xff", 7);

  const std::string encoded = percent_encode(text, is_letter);

  EXPECT_EQ(encoded, "a%20b%25c%0a%ff");
  EXPECT_EQ(percent_decode(encoded), text);
}

TEST(Percent, DecodesDigitsOfEitherCase) {
  EXPECT_EQ(percent_decode("%2f%2F"), "//");
}

TEST(Percent, LeavesAPercentSignWithoutTwoDigits) {
  for (const std::string text : {"%", "%4", "a%4", "%4g", "%-1", "%%"})
    EXPECT_EQ(percent_decode(text), text);
}

}  // namespace
}  // namespace sockmi
