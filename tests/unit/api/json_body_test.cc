#include "api/json_body.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sockmi::api {
namespace {

using testing::HasSubstr;

Result<JsonBody> parse(const std::string& text) {
  return JsonBody::parse({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

TEST(JsonBody, AnObjectIsAccepted) {
  const auto body = parse(R"({"host": "B", "force": true, "count": 3})");

  EXPECT_EQ(body->text("host"), "B");
  EXPECT_EQ(body->flag("force"), true);
  EXPECT_EQ(body->count("count"), 3u);
}

TEST(JsonBody, AnythingElseIsRefused) {
  for (const std::string& text :
       {std::string(), std::string("null"), std::string("7"), std::string("\"x\""),
        std::string("[]"), std::string("{"), std::string("{} {}"), std::string("{\"x\": \"\xff\"}"),
        std::string("{\"x\": \"\0\"}", 10), std::string(60'000, '['), std::string("{\"a\":1,}")})
    EXPECT_EQ(parse(text).error().code, EINVAL) << text.substr(0, 20);
}

TEST(JsonBody, ADeepValueIsNoStringEither) {
  const std::string deep =
      R"({"host": )" + std::string(30'000, '[') + std::string(30'000, ']') + "}";

  EXPECT_EQ(parse(deep)->text("host").error().code, EINVAL);
}

TEST(JsonBody, AnAbsentOrNullValueIsTheDefault) {
  const auto body = parse(R"({"x": null})");

  for (const char* key : {"x", "y"}) {
    EXPECT_EQ(body->text(key, "z"), "z");
    EXPECT_EQ(body->flag(key, true), true);
    EXPECT_EQ(body->count(key, 7), 7u);
  }
}

TEST(JsonBody, AnAbsentOrNullValueWithoutADefaultIsRefused) {
  const auto body = parse(R"({"x": null})");

  for (const char* key : {"x", "y"}) {
    EXPECT_EQ(body->text(key).error().reason, fmt::format("invalid body: '{}' is missing", key));
    EXPECT_EQ(body->flag(key).error().code, EINVAL);
    EXPECT_EQ(body->count(key).error().code, EINVAL);
  }
}

TEST(JsonBody, AValueOfAnotherTypeIsRefused) {
  const auto body = parse(R"({"text": "x", "flag": true, "count": 1, "list": [], "object": {}})");

  for (const char* key : {"flag", "count", "list", "object"})
    EXPECT_THAT(body->text(key, "").error().reason, HasSubstr("is not a string"));
  for (const char* key : {"text", "count", "list", "object"})
    EXPECT_THAT(body->flag(key, false).error().reason, HasSubstr("is not a boolean"));
  for (const char* key : {"text", "flag", "list", "object"})
    EXPECT_THAT(body->count(key, 1).error().reason, HasSubstr("is not a natural number"));
}

TEST(JsonBody, ANumberOutOfRangeIsRefused) {
  const auto body = parse(
      R"({"most": 4294967295, "more": 4294967296, "negative": -1, "half": 0.5, "huge": 1e30})");

  EXPECT_EQ(body->count("most"), 4294967295u);
  for (const char* key : {"more", "negative", "half", "huge"})
    EXPECT_EQ(body->count(key).error().code, EINVAL) << key;
}

}  // namespace
}  // namespace sockmi::api
