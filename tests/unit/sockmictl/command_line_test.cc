// Tests which command lines are accepted, what is asked of the daemon, and the exit code.
#include "sockmictl/command_line.h"

#include <unistd.h>

#include <algorithm>
#include <ranges>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sockmictl/commands.h"
#include "tool_test.h"

namespace sockmi::sockmictl {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream in(text);
  for (std::string word; in >> word;)
    words.push_back(word);
  return words;
}

class CommandLineTest : public ToolTest {
 protected:
  // Runs a command line that is refused before the daemon is asked.
  void expect_usage_error(const std::vector<std::string>& arguments) {
    const Outcome outcome = sockmictl(arguments);
    EXPECT_EQ(outcome.status, 2) << text_of(arguments);
    EXPECT_THAT(outcome.err, Not(IsEmpty())) << text_of(arguments);
    EXPECT_THAT(daemon_.requests(), IsEmpty()) << text_of(arguments);
  }
};

struct Request {
  std::vector<std::string> arguments;
  std::string request;
};
const Request kRequests[] = {
    {{"status"}, "GET /v1/status "},
    {{"connections"}, "GET /v1/connections?offset=0&limit=1000 "},
    {{"hosts"}, "GET /v1/hosts?offset=0&limit=1000 "},
    {{"migrations"}, "GET /v1/migrations?offset=0&limit=1000 "},
    {{"doubt"}, "GET /v1/doubt?offset=0&limit=1000 "},
    {{"doubt", "commit", "7"}, R"(POST /v1/doubt {"decide":"commit","id":"7"})"},
    {{"doubt", "discard", "7"}, R"(POST /v1/doubt {"decide":"discard","id":"7"})"},
    {{"export"}, "POST /v1/requests {}"},
    {{"export", "--service", "web", "--to", "B", "--local", "192.0.2.1:443", "--peer", "192.0.2.9"},
     R"(POST /v1/requests {"local":"192.0.2.1:443","peer":"192.0.2.9","service":"web","to":"B"})"},
    {{"drain", "--detach"}, "POST /v1/drain {}"},
    {{"drain", "status"}, "GET /v1/drain "},
    {{"drain", "stop"}, "POST /v1/drain/stop "},
    {{"undrain"}, "POST /v1/undrain "},
    {{"takeover", "192.0.2.50", "--to", "B"},
     R"(POST /v1/takeovers {"address":"192.0.2.50","to":"B"})"},
    {{"takeover", "192.0.2.50", "--to", "B", "--force"},
     R"(POST /v1/takeovers {"address":"192.0.2.50","force":true,"to":"B"})"},
    {{"forget", "B"}, R"(POST /v1/hosts/forget {"host":"B"})"},
    {{"fault", "freeze"}, R"(POST /v1/testing/faults {"count":1,"name":"freeze"})"},
    {{"fault", "freeze", "3"}, R"(POST /v1/testing/faults {"count":3,"name":"freeze"})"},
};

TEST_F(CommandLineTest, EachCommandSendsItsRequest) {
  daemon_.answer(R"({"failed": 0, "attached": false, "state": "none"})");

  std::vector<std::string> expected;
  for (const Request& each : kRequests) {
    EXPECT_EQ(sockmictl(each.arguments).status, 0) << text_of(each.arguments);
    expected.push_back(each.request);
  }

  EXPECT_EQ(daemon_.requests(), expected);
}

// So a row that is added to the table must be added here, or need no daemon.
TEST_F(CommandLineTest, EachCommandThatAsksTheDaemonIsTested) {
  for (const Command& command : commands()) {
    const std::string name = command.name;
    if (name.starts_with("cluster") || name == "flush") continue;
    if (name == "wait") continue;  // its answers have a test of their own
    const auto words = words_of(name);
    EXPECT_TRUE(std::ranges::any_of(kRequests, [&](const Request& each) {
      return std::ranges::equal(words, each.arguments | std::views::take(words.size()));
    })) << name;
  }
}

TEST_F(CommandLineTest, WaitAsksUntilTheDrainHasEnded) {
  daemon_.answer(R"({"state": "running"})");
  daemon_.answer(R"({"state": "done"})");

  EXPECT_EQ(sockmictl({"wait"}).status, 0);

  EXPECT_EQ(daemon_.requests(), std::vector<std::string>({"GET /v1/drain ", "GET /v1/drain "}));
}

TEST_F(CommandLineTest, EachCommandHasHelp) {
  for (const Command& command : commands()) {
    auto arguments = words_of(command.name);
    arguments.push_back("--help");

    const Outcome outcome = sockmictl(arguments);

    EXPECT_EQ(outcome.status, 0) << command.name;
    EXPECT_THAT(outcome.out, HasSubstr("Usage:")) << command.name;
  }
}

TEST_F(CommandLineTest, HelpNamesEachCommand) {
  const Outcome outcome = sockmictl({"--help"});

  EXPECT_EQ(outcome.status, 0);
  for (const Command& command : commands()) {
    const std::string name = command.name;
    if (name.contains(' ')) continue;  // a member of a group
    EXPECT_THAT(outcome.out, HasSubstr("\n  " + name + " "));
  }
}

TEST_F(CommandLineTest, AnUnknownOptionOrOperandIsWrongUsage) {
  for (const Command& command : commands())
    for (const char* wrong : {"--unknown", "one two three four"}) {
      auto arguments = words_of(command.name);
      std::ranges::move(words_of(wrong), std::back_inserter(arguments));
      expect_usage_error(arguments);
    }
}

TEST_F(CommandLineTest, AMissingCommandIsWrongUsage) {
  expect_usage_error({});
  expect_usage_error({"--json"});
  expect_usage_error({"cluster"});
  expect_usage_error({"unknown"});
  expect_usage_error({"doubt", "unknown"});
}

TEST_F(CommandLineTest, AMissingOperandIsWrongUsage) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"forget"},
        {"fault"},
        {"takeover"},
        {"takeover", "192.0.2.50"},
        {"takeover", "--to", "B"},
        {"doubt", "commit"},
        {"doubt", "discard"},
        {"cluster", "init"},
        {"cluster", "issue", "A", "--out", "out"},
        {"cluster", "issue", "A", "--cluster", "cluster"},
        {"cluster", "issue", "--cluster", "cluster", "--out", "out"},
        {"cluster", "renew", "A"},
        {"cluster", "renew", "--cluster", "cluster"},
        {"cluster", "revoke", "A"},
        {"cluster", "revoke", "--cluster", "cluster"},
        {"cluster", "rekey"},
        {"cluster", "rotate"},
        {"cluster", "retire"}})
    expect_usage_error(arguments);
}

TEST_F(CommandLineTest, AnOptionWithoutItsValueIsWrongUsage) {
  for (const char* option : {"--service", "--to", "--local", "--peer", "--pid", "--fd", "--socket"})
    expect_usage_error({"export", option});
}

TEST_F(CommandLineTest, AnEmptyCriterionIsWrongUsage) {
  for (const char* option : {"--service", "--to", "--local", "--peer"})
    expect_usage_error({"export", option, ""});
}

TEST_F(CommandLineTest, AProcessWithoutItsDescriptorIsWrongUsage) {
  expect_usage_error({"export", "--pid", "1"});
  expect_usage_error({"export", "--fd", "1"});
}

TEST_F(CommandLineTest, AProcessExcludesCriteria) {
  expect_usage_error({"export", "--pid", "1", "--fd", "1", "--local", "192.0.2.1"});
  expect_usage_error({"export", "--pid", "1", "--fd", "1", "--peer", "192.0.2.9"});
}

TEST_F(CommandLineTest, ANumberOfNoProcessIsWrongUsage) {
  for (const char* pid : {"0", "-1", "x", "99999999999"})
    expect_usage_error({"export", "--pid", pid, "--fd", "1"});
}

TEST_F(CommandLineTest, ANumberOfNoDescriptorIsWrongUsage) {
  for (const char* fd : {"-1", "x", "99999999999"})
    expect_usage_error({"export", "--pid", "1", "--fd", fd});
}

TEST_F(CommandLineTest, ACountThatIsNoNumberIsWrongUsage) {
  for (const char* count : {"x", "1.5", "99999999999"})
    expect_usage_error({"fault", "freeze", count});
}

TEST_F(CommandLineTest, DaysBeyondTheirLimitsAreWrongUsage) {
  for (const char* days : {"0", "3651", "-1", "x"})
    expect_usage_error({"cluster", "issue", "A", "--cluster", "c", "--out", "o", "--days", days});
}

TEST_F(CommandLineTest, TheSocketOptionSelectsTheDaemon) {
  const std::string path = daemon_.path();
  ::setenv("SOCKMID_SOCKET", "/nothing", 1);
  daemon_.answer("{}");

  EXPECT_EQ(sockmictl({"status", "--socket", path}).status, 0);
}

TEST_F(CommandLineTest, AMissingDaemonIsAnError) {
  const Outcome outcome = sockmictl({"--socket", "/nothing", "status"});

  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err,
              AllOf(HasSubstr("sockmictl: "), HasSubstr("/nothing"), HasSubstr("ENXIO")));
}

TEST_F(CommandLineTest, ARefusalIsAnErrorWithItsReason) {
  daemon_.answer(R"({"error": "only root may forget hosts", "errno": 13, "name": "EACCES"})", 403);

  const Outcome outcome = sockmictl({"forget", "B"});

  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.err, "sockmictl: only root may forget hosts (EACCES)\n");
  EXPECT_EQ(outcome.out, "");
}

TEST_F(CommandLineTest, AnErrorWithTerminalEscapesIsEscaped) {
  daemon_.answer(R"({"error": "\u001b[2J\nsockmictl: forged", "errno": 22})", 400);

  EXPECT_EQ(sockmictl({"forget", "B"}).err, "sockmictl: \\x1b[2J\\x0asockmictl: forged (EINVAL)\n");
}

TEST_F(CommandLineTest, AnAnswerThatIsNoObjectIsAnError) {
  for (const char* answer : {"", "null", "7", "[]", "{", "\"x\"", "{\"x\": \"\xff\"}"}) {
    test::FakeDaemon daemon;
    daemon.answer(answer);
    for (const Request& each : kRequests) {
      const Outcome outcome = sockmictl(each.arguments);
      EXPECT_EQ(outcome.status, 1) << text_of(each.arguments) << ": " << answer;
      EXPECT_THAT(outcome.err, HasSubstr("EBADMSG"));
    }
  }
}

TEST_F(CommandLineTest, AnAnswerOfAnotherFormIsAnError) {
  for (const char* answer :
       {R"({"connections": 7})", R"({"connections": ["x"]})",
        R"({"connections": [{}], "total": "x"})", R"({"connections": {"x": 1}})"}) {
    test::FakeDaemon daemon;
    daemon.answer(answer);
    const Outcome outcome = sockmictl({"connections"});
    EXPECT_EQ(outcome.status, 1) << answer;
    EXPECT_THAT(outcome.err, HasSubstr("unexpected answer")) << answer;
  }
}

TEST_F(CommandLineTest, AnOperandThatIsNotUtf8IsRefused) {
  const Outcome outcome = sockmictl({"forget", "\xff"});

  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.err, "sockmictl: invalid argument: it is not UTF-8 (EINVAL)\n");
  EXPECT_THAT(daemon_.requests(), IsEmpty());
}

TEST_F(CommandLineTest, AClusterIsMadeWithoutADaemon) {
  const test::TemporaryFolder folder;
  const std::string cluster = folder.path / "cluster", host = folder.path / "A";

  EXPECT_EQ(sockmictl({"cluster", "init", cluster}).status, 0);
  EXPECT_EQ(sockmictl({"cluster", "issue", "A", "--cluster", cluster, "--out", host, "--address",
                       "192.0.2.1", "--address", "fd00::1", "--days", "3650"})
                .status,
            0);
  const Outcome revoked = sockmictl({"cluster", "revoke", "A", "--cluster", cluster});

  EXPECT_THAT(revoked.out,
              HasSubstr("1 certificates of A are revoked: copy " + cluster + "/crl.pem"));
  EXPECT_THAT(daemon_.requests(), IsEmpty());
}

TEST_F(CommandLineTest, AWrongAddressOfAHostIsRefused) {
  const Outcome outcome =
      sockmictl({"cluster", "issue", "A", "--cluster", "c", "--out", "o", "--address", "x"});

  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("invalid IP address 'x'"));
}

}  // namespace
}  // namespace sockmi::sockmictl
