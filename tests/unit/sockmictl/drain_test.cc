// Tests the commands that drain a host: what they ask of the daemon, print and return.
#include <gmock/gmock.h>

#include "sockmictl/drain_view.h"
#include "tool_test.h"

namespace sockmi::sockmictl {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

json status_with(const std::string& state, int moved, int open, int stay = 0) {
  return {{"state", state},
          {"cordoned", state != "none"},
          {"warning", ""},
          {"moved", moved},
          {"open", open},
          {"stay", stay},
          {"not_held", 1},
          {"per_second", 12.3},
          {"eta_s", 90},
          {"freeze_us", {{"count", moved}, {"p50", 410}, {"p99", 1700}}},
          {"hosts", {{{"host", "B"}, {"moved", moved}, {"refusal", ""}}}},
          {"failures", {{{"count", 2}, {"reason", "queue \u001b[2J is full"}}}},
          {"left",
           {{{"local", "192.0.2.1:443"},
             {"peer", "192.0.2.9:1"},
             {"service", "web"},
             {"inode", 0},
             {"uid", 0},
             {"held", true},
             {"reason", "no room"}}}}};
}

class DrainTest : public ToolTest {
 protected:
  void answer(json body, bool attached = false) {
    body["attached"] = attached;
    daemon_.answer(body.dump());
  }
  std::string first_request() { return daemon_.requests().at(0); }
};

TEST_F(DrainTest, AnOrderHasItsOptions) {
  answer(status_with("running", 0, 1));

  EXPECT_EQ(sockmictl({"drain", "--detach", "--service", "web", "--service", "dl", "--to", "B",
                       "--deadline", "10m", "--rate", "50", "--on-stuck", "wait", "--for-reboot"})
                .status,
            0);

  EXPECT_EQ(first_request(),
            R"(POST /v1/drain {"deadline_s":600,"for_reboot":true,"on_stuck":"wait","rate":50,)"
            R"("services":["web","dl"],"to":["B"]})");
}

TEST_F(DrainTest, AnOrderWithoutOptionsIsForEverything) {
  answer(status_with("running", 0, 1));

  sockmictl({"drain", "--detach"});

  EXPECT_EQ(first_request(), "POST /v1/drain {}");
}

TEST_F(DrainTest, DurationsHaveUnits) {
  for (const auto& [text, seconds] : std::map<std::string, int>{
           {"90", 90}, {"90s", 90}, {"2m", 120}, {"1h", 3600}, {"720h", 2'592'000}}) {
    test::FakeDaemon daemon;
    json body = status_with("running", 0, 1);
    body["attached"] = false;
    daemon.answer(body.dump());
    ASSERT_EQ(
        sockmictl({"--socket", daemon.path(), "drain", "--detach", "--deadline", text}).status, 0);
    EXPECT_THAT(daemon.requests().at(0), HasSubstr(fmt::format("\"deadline_s\":{}}}", seconds)));
  }
}

TEST_F(DrainTest, WrongUsageIsRefused) {
  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{"--deadline", ""},
                                             {"--deadline", "0"},
                                             {"--deadline", "-1"},
                                             {"--deadline", "10d"},
                                             {"--deadline", "721h"},
                                             {"--deadline", "99999999999999999999"},
                                             {"--rate", "0"},
                                             {"--rate", "x"},
                                             {"--on-stuck", ""},
                                             {"--on-stuck", "hope"},
                                             {"--service", ""},
                                             {"--to", ""},
                                             {"--detach", "--dry-run"},
                                             {"status", "--detach"},
                                             {"everything"}}) {
    std::vector<std::string> arguments = {"drain"};
    arguments.insert(arguments.end(), wrong.begin(), wrong.end());
    EXPECT_EQ(sockmictl(arguments).status, 2) << text_of(arguments);
  }
  EXPECT_THAT(daemon_.requests(), IsEmpty());
}

TEST_F(DrainTest, TheExitStatusSaysHowItEnded) {
  for (const auto& [state, status] : std::map<std::string, int>{
           {"done", 0}, {"incomplete", 1}, {"stopped", 1}, {"deadline", 3}}) {
    test::FakeDaemon daemon;
    json body = status_with(state, 5, 0, state == "done" ? 0 : 1);
    body["attached"] = false;
    daemon.answer(body.dump());
    EXPECT_EQ(sockmictl({"--socket", daemon.path(), "drain"}).status, status) << state;
    EXPECT_EQ(sockmictl({"--socket", daemon.path(), "drain", "status", "--watch"}).status, status)
        << state;
    EXPECT_EQ(sockmictl({"--socket", daemon.path(), "drain", "status"}).status, 0) << state;
  }
}

TEST_F(DrainTest, ASecondOrderFollowsTheFirst) {
  answer(status_with("done", 5, 0), true);

  const Outcome outcome = sockmictl({"drain"});

  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.err, HasSubstr("a drain is under way"));
}

TEST_F(DrainTest, WithoutATerminalTheProgressIsLines) {
  answer(status_with("running", 0, 4));
  answer(status_with("running", 1, 3));
  answer(status_with("done", 4, 0));

  const Outcome outcome = sockmictl({"drain"});

  EXPECT_THAT(outcome.out, StartsWith("1 of 4 moved, 12/s, ETA 1:30 min, freeze p50 0.41 ms p99 "
                                      "1.70 ms; 2 failed: queue \\x1b[2J is full\n"));
  EXPECT_THAT(outcome.out, HasSubstr("drained: no connection of an application is left\n4 of 4"));
  EXPECT_THAT(outcome.out, HasSubstr("  4 to B\n"));
}

TEST_F(DrainTest, JsonIsOneObjectALine) {
  answer(status_with("running", 0, 4));
  answer(status_with("running", 1, 3));
  answer(status_with("done", 4, 0));

  const Outcome outcome = sockmictl({"drain", "--json"});

  std::istringstream lines(outcome.out);
  std::vector<std::string> states;
  for (std::string line; std::getline(lines, line);)
    states.push_back(json::parse(line)["state"]);
  EXPECT_EQ(states, (std::vector<std::string>{"running", "done"}));
}

TEST_F(DrainTest, TheStatusNamesWhatStays) {
  answer(status_with("incomplete", 5, 0, 1));

  const std::string out = sockmictl({"drain", "status"}).out;

  EXPECT_THAT(out, StartsWith("drained, but some connections stay\n"));
  EXPECT_THAT(out, HasSubstr("1 connections of applications stay:\n"
                             "  192.0.2.1:443<-192.0.2.9:1: no room\n"));
  EXPECT_THAT(out, HasSubstr("1 connections that no program holds by sockmi stay\n"));
}

TEST_F(DrainTest, AnEarlyEndHasItsReason) {
  json body = status_with("incomplete", 5, 1);
  body["reason"] = "no list\x1b[2J";
  answer(body);
  answer(body);

  const Outcome outcome = sockmictl({"drain", "status", "--watch"});

  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, HasSubstr("it ended early: no list\\x1b[2J\n"));
  EXPECT_THAT(outcome.err, HasSubstr("the drain ended early: no list"));
}

TEST_F(DrainTest, ConnectionsThatWereCutAreNotCalledMoved) {
  for (const auto& [state, status] :
       std::map<std::string, int>{{"incomplete", 1}, {"deadline", 3}}) {
    test::FakeDaemon daemon;
    json body = status_with(state, 5, 0);
    body["cut"] = 2;
    daemon.answer(body.dump());
    daemon.answer(body.dump());

    const Outcome outcome = sockmictl({"--socket", daemon.path(), "drain", "status", "--watch"});

    EXPECT_EQ(outcome.status, status);
    EXPECT_THAT(outcome.out, HasSubstr("2 connections that did not move were cut\n"));
    EXPECT_THAT(outcome.err, HasSubstr("2 connections did not move and were cut, and 0 are left"));
  }
}

TEST_F(DrainTest, WaitingEndsWithTheDrain) {
  answer(status_with("running", 0, 4));
  answer(status_with("running", 1, 3));
  answer(status_with("incomplete", 3, 0, 1));

  const Outcome outcome = sockmictl({"wait"});

  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(daemon_.requests().size(), 3u);
}

TEST_F(DrainTest, WaitingEndsWithItsTime) {
  answer(status_with("running", 0, 4));

  EXPECT_EQ(sockmictl({"wait", "--timeout", "1s"}).status, 3);
}

TEST_F(DrainTest, WithoutADrainThereIsNothingToWaitFor) {
  answer(status_with("none", 0, 0));

  EXPECT_EQ(sockmictl({"wait"}).status, 1);
}

TEST_F(DrainTest, StopAndUndrainAreOrders) {
  answer(status_with("stopped", 5, 1));

  EXPECT_EQ(sockmictl({"drain", "stop"}).status, 0);
  EXPECT_EQ(sockmictl({"undrain"}).status, 0);

  EXPECT_EQ(daemon_.requests(),
            (std::vector<std::string>{"POST /v1/drain/stop ", "POST /v1/undrain "}));
}

TEST_F(DrainTest, ADryRunPrintsWhereConnectionsGo) {
  daemon_.answer(R"({"services": [{"service": "web", "applications": [{"pid": 1, "uid": 0}],
      "hosts": [{"host": "B", "share": 0.5, "free": 10, "refusal": ""},
                {"host": "C", "share": 0.5, "free": 10, "refusal": ""},
                {"host": "D", "share": 0, "free": 0, "refusal": "queue is full"}]}]})");
  daemon_.answer(R"({"connections": [
      {"local": "192.0.2.1:443", "peer": "192.0.2.9:1", "service": "web", "uid": 0, "inode": 0},
      {"local": "192.0.2.1:443", "peer": "192.0.2.9:2", "service": "web", "uid": 0, "inode": 0},
      {"local": "192.0.2.1:443", "peer": "192.0.2.9:3", "service": "web", "uid": 0, "inode": 0},
      {"local": "192.0.2.1:22", "peer": "192.0.2.9:4", "service": null, "uid": 0, "inode": 0}],
      "total": 4})");

  const Outcome outcome = sockmictl({"drain", "--dry-run"});

  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(outcome.out,
            "service web: 3 connections\n"
            "  2 to B\n"
            "  1 to C\n"
            "  none to D: queue is full\n"
            "1 connections stay: no program holds them by sockmi\n"
            "  192.0.2.1:22<-192.0.2.9:4  - \n");
  EXPECT_EQ(daemon_.requests(),
            (std::vector<std::string>{R"(POST /v1/drain {"dry_run":true})",
                                      "GET /v1/drain/connections?offset=0&limit=4096 "}));
}

TEST(DrainPlanTest, AConnectionIsOfTheServiceWhoseApplicationHasItsSocket) {
  const json services = {
      {{"service", "web"},
       {"applications", {{{"pid", 70}, {"uid", 0}}}},
       {"hosts", {{{"host", "B"}, {"share", 1.0}, {"free", 1}, {"refusal", ""}}}}},
      {{"service", "dl"}, {"applications", {{{"pid", 80}, {"uid", 0}}}}, {"hosts", json::array()}}};
  const auto connection = [](int inode) {
    return json{{"local", "l"}, {"peer", "p"}, {"service", nullptr}, {"inode", inode}};
  };

  const DrainPlan plan =
      make_plan(services, {connection(1), connection(2), connection(3), connection(4)},
                {{1, {70}}, {2, {60, 70}}, {3, {80}}, {4, {60}}});

  ASSERT_EQ(plan.services.size(), 2u);
  EXPECT_EQ(plan.services[0].connections, 2u);
  EXPECT_EQ(plan.services[0].hosts, (std::map<std::string, std::uint64_t>{{"B", 1}}));
  EXPECT_EQ(plan.services[0].stay(), 1u);
  EXPECT_EQ(plan.services[1].stay(), 1u);
  ASSERT_EQ(plan.not_held.size(), 1u);
  EXPECT_EQ(plan.not_held[0].process, 60);
}

TEST(ProgressBlockTest, TheBarFitsTheTerminal) {
  for (const std::size_t width : {20u, 80u, 200u})
    for (const int moved : {0, 3, 10})
      for (const std::string& line :
           progress_block(status_with("running", moved, 10 - moved), width))
        EXPECT_LE(line.size(), width);
  EXPECT_THAT(progress_block(status_with("running", 5, 5), 120).at(0),
              AllOf(StartsWith("[####"), HasSubstr("50 %  5/10")));
  EXPECT_THAT(progress_block(status_with("running", 0, 0), 120).at(0), HasSubstr("100 %"));
}

TEST(SocketOwnersTest, OurOwnSocketIsOurs) {
  const unique_fd socket(::socket(AF_INET, SOCK_STREAM, 0));
  char link[64] = {};
  ASSERT_GT(
      ::readlink(fmt::format("/proc/self/fd/{}", socket.get()).c_str(), link, sizeof link - 1), 0);
  const auto inode = std::strtoull(std::strchr(link, '[') + 1, nullptr, 10);

  EXPECT_THAT(socket_owners()[inode], Contains(::getpid()));
  EXPECT_THAT(program_of(::getpid()), StartsWith("unit_sockmict"));
}

}  // namespace
}  // namespace sockmi::sockmictl
