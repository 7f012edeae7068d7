// Tests what sockmictl prints of the daemon's answers.
#include <unistd.h>

#include <algorithm>

#include <gmock/gmock.h>

#include "tool_test.h"

namespace sockmi::sockmictl {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

class OutputTest : public ToolTest {};

TEST_F(OutputTest, ATableHasAlignedColumns) {
  daemon_.answer(R"({"hosts": [
      {"host": "B", "address": "192.0.2.2", "last_heard_ms_ago": 1234, "connected": true,
       "cordoned": true},
      {"host": "a-long-name", "address": "fd00::3", "last_heard_ms_ago": -1,
       "connected": false, "cordoned": false}]})");

  EXPECT_EQ(sockmictl({"hosts"}).out,
            "HOST         ADDRESS    HEARD MS AGO  CONNECTED  CORDONED  \n"
            "B            192.0.2.2  1234          true       true      \n"
            "a-long-name  fd00::3    -1            false      false     \n");
}

TEST_F(OutputTest, AnEmptyTableHasItsTitles) {
  daemon_.answer(R"({"doubts": []})");

  EXPECT_EQ(sockmictl({"doubt"}).out, "ID  KIND  LOCAL  PEER  OTHER HOST  \n");
}

TEST_F(OutputTest, AMissingOrNullCellIsADash) {
  daemon_.answer(R"({"doubts": [{"id": "7", "kind": null}]})");

  EXPECT_EQ(sockmictl({"doubt"}).out,
            "ID  KIND  LOCAL  PEER  OTHER HOST  \n"
            "7   -     -      -     -           \n");
}

TEST_F(OutputTest, ACellWithControlsIsEscaped) {
  daemon_.answer(R"({"doubts": [{"id": "a\nb\u001b[2J\u009b1m\u202e\u007f\u0000"}]})");

  const std::string out = sockmictl({"doubt"}).out;

  EXPECT_THAT(out, HasSubstr(R"(a\x0ab\x1b[2J\xc2\x9b1m\xe2\x80\xae\x7f\x00)"));
  EXPECT_EQ(std::ranges::count(out, '\n'), 2) << out;
}

TEST_F(OutputTest, ACellInAnotherScriptIsPrintedAsItIs) {
  daemon_.answer(R"({"doubts": [{"id": "größe-主机"}]})");

  EXPECT_THAT(sockmictl({"doubt"}).out, HasSubstr("größe-主机"));
}

TEST_F(OutputTest, FieldsHaveTheNamesOfTheirObjects) {
  daemon_.answer(R"({"host": "A", "lists": {"bound": {"max": 7}}, "warnings": ["x", "y"]})");

  EXPECT_EQ(sockmictl({"status"}).out,
            "host                         A\n"
            "lists.bound.max              7\n"
            "warnings                     [\"x\",\"y\"]\n");
}

TEST_F(OutputTest, AHostThatDrainsSaysSoFirst) {
  daemon_.answer(R"({"barrier": "plain", "cordoned": true})");

  EXPECT_EQ(sockmictl({"status"}).out,
            "cordoned                     true\n"
            "barrier                      plain\n");
}

TEST_F(OutputTest, AFieldWithControlsIsEscaped) {
  daemon_.answer(
      R"({"journal": {"error": "\u001b]0;x\u0007", "k\u001by": 1}, "warnings": ["\u009b"]})");

  EXPECT_EQ(sockmictl({"status"}).out,
            "journal.error                \\x1b]0;x\\x07\n"
            "journal.k\\x1by               1\n"
            "warnings                     [\"\\xc2\\x9b\"]\n");
}

TEST_F(OutputTest, JsonIsTheAnswer) {
  daemon_.answer(R"({"host":"A"})");

  EXPECT_EQ(sockmictl({"status", "--json"}).out, "{\n  \"host\": \"A\"\n}\n");
}

TEST_F(OutputTest, JsonHasOnlyAscii) {
  daemon_.answer(R"({"moved": "\u001b\u009b\u007fé"})");

  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"status", "--json"},
        {"export", "--json"},
        {"forget", "B", "--json"},
        {"takeover", "192.0.2.1", "--to", "B", "--json"}})
    EXPECT_THAT(sockmictl(arguments).out, HasSubstr(R"("\u001b\u009b\u007f\u00e9")"))
        << text_of(arguments);
}

TEST_F(OutputTest, ALongListIsReadInParts) {
  daemon_.answer(R"({"connections": [{"local": "one"}, {"local": "two"}], "total": 3})");
  daemon_.answer(R"({"connections": [{"local": "three"}], "total": 3})");

  const Outcome outcome = sockmictl({"connections"});

  EXPECT_THAT(outcome.out, AllOf(HasSubstr("one"), HasSubstr("two"), HasSubstr("three")));
  EXPECT_THAT(daemon_.requests(), ElementsAre("GET /v1/connections?offset=0&limit=1000 ",
                                              "GET /v1/connections?offset=2&limit=1000 "));
}

TEST_F(OutputTest, AListThatBecomesShorterEnds) {
  daemon_.answer(R"({"connections": [{"local": "one"}], "total": 3})");
  daemon_.answer(R"({"connections": [], "total": 1})");

  EXPECT_EQ(sockmictl({"connections"}).status, 0);
}

TEST_F(OutputTest, AnExportPrintsWhatTheApplicationsAnswered) {
  daemon_.answer(R"({"applications": 2, "answered": 2, "exported": 5, "failed": 0})");

  const Outcome outcome = sockmictl({"export"});

  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.out, "5 exported, 0 failed, by 2 of 2 applications\n");
}

TEST_F(OutputTest, AnExportFailsIfAnApplicationDoesNotAnswer) {
  daemon_.answer(R"({"applications": 2, "answered": 1, "exported": 5, "failed": 0,
                     "unanswered": ["www-data", "\u001b[2J"]})");

  const Outcome outcome = sockmictl({"export"});

  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(
      outcome.err,
      "sockmictl: applications of [\"www-data\",\"\\u001b[2J\"] did not answer (ETIMEDOUT)\n");
}

TEST_F(OutputTest, AnExportFailsIfAConnectionStays) {
  daemon_.answer(R"({"applications": 1, "answered": 1, "exported": 4, "failed": 1})");

  const Outcome outcome = sockmictl({"export"});

  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("cannot export 1 connections"));
}

TEST_F(OutputTest, AnExportOfASocketOfTheDaemonIsRefused) {
  const Outcome outcome = sockmictl({"export", "--pid", std::to_string(::getpid()), "--fd", "0"});

  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("is the daemon itself"));
}

TEST_F(OutputTest, AnExportOfASocketToAnUnknownHostIsRefused) {
  daemon_.answer(R"({"hosts": [{"host": "B", "address": "192.0.2.2"}]})");

  const Outcome outcome = sockmictl({"export", "--pid", "1", "--fd", "0", "--to", "C"});

  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.err, "sockmictl: host 'C' is not known here (EHOSTUNREACH)\n");
}

TEST_F(OutputTest, ATakeoverPrintsWhatMoved) {
  daemon_.answer(R"({"address": "192.0.2.50", "host": "B", "moved": 3, "lost": [{}, {}]})");

  EXPECT_EQ(sockmictl({"takeover", "192.0.2.50", "--to", "B"}).out,
            "192.0.2.50 is an address of B now: 3 connections moved, 2 lost\n");
}

TEST_F(OutputTest, ForgetPrintsWhatIsGivenUp) {
  daemon_.answer(R"({"host": "B", "pending_ends": 1, "forwarded": 2, "held": 3})");

  EXPECT_EQ(sockmictl({"forget", "B"}).out,
            "B is given up: 1 ends and 2 moves of which it was not notified, 3 connections that it "
            "held\n");
}

TEST_F(OutputTest, AnOrderThatIsCarriedOutPrintsNothing) {
  daemon_.answer("{}");

  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"doubt", "commit", "7"},
        {"doubt", "discard", "7"},
        {"fault", "x"}})
    EXPECT_EQ(sockmictl(arguments).out, "") << text_of(arguments);
}

}  // namespace
}  // namespace sockmi::sockmictl
