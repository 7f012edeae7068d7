// The two-phase commit: exporter and importer as two processes with real sockets, while
// one of them dies, or a message between them is lost, late or doubled. Afterwards each
// connection has exactly one live end, which has every byte once, and the journals, the
// tables and the rules agree with that.
//
// The cells are not listed here. A run without faults is recorded, and then repeated with
// a crash before each of its visible actions (interposed.h), or with a fault of each of
// its messages. So a new step of a migration gets its cells by itself.
//
// CELL=B17 or O17 runs one cell, SEED=5 one walk, and HOST_LOGS=1 prints the logs of the
// hosts.
#include <algorithm>
#include <cstdlib>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "two_hosts.h"

namespace sockmi::daemon {
namespace {

constexpr Scenario kLeavesHome{.name = "LeavesHome", .from = Network::A},
    kReturnsHome{.name = "ReturnsHome", .from = Network::B},
    kSeveral{.name = "Several", .from = Network::A, .connections = 2},
    kWithPreCopy{.name = "WithPreCopy", .from = Network::A, .unread = 100'000},
    kIsWritten{.name = "IsWritten", .from = Network::A, .written = true},
    kIsWrittenOnTheWayHome{.name = "IsWrittenOnTheWayHome", .from = Network::B, .written = true},
    kIsGuarded{.name = "IsGuarded", .from = Network::A, .guarded = true},
    kMayBeGivenUp{.name = "MayBeGivenUp", .from = Network::A, .token = true},
    kIsGivenUp{.name = "IsGivenUp", .from = Network::A, .token = true, .gives_up = true},
    kAsks{.name = "Asks", .from = Network::A, .asks = true},
    kAsksOnTheWayHome{.name = "AsksOnTheWayHome", .from = Network::B, .asks = true},
    kAsksAndIsWritten{
        .name = "AsksAndIsWritten", .from = Network::A, .written = true, .asks = true},
    kGroup{.name = "Group", .from = Network::A, .connections = 2, .grouped = true},
    kGroupReturns{.name = "GroupReturns", .from = Network::B, .connections = 2, .grouped = true},
    kGroupIsWritten{.name = "GroupIsWritten",
                    .from = Network::A,
                    .connections = 2,
                    .written = true,
                    .grouped = true},
    kGroupIsGuarded{.name = "GroupIsGuarded",
                    .from = Network::A,
                    .connections = 2,
                    .guarded = true,
                    .grouped = true},
    kGroupMayBeGivenUp{.name = "GroupMayBeGivenUp",
                       .from = Network::A,
                       .connections = 2,
                       .token = true,
                       .grouped = true},
    kGroupAsks{
        .name = "GroupAsks", .from = Network::A, .connections = 2, .asks = true, .grouped = true},
    kThawFails{.name = "ThawFails", .from = Network::A, .fails = "thaw"},
    kGroupMayNotThaw{.name = "GroupMayNotThaw",
                     .from = Network::A,
                     .connections = 2,
                     .grouped = true,
                     .fails = "may-thaw"},
    kGroupIsNotWoken{.name = "GroupIsNotWoken",
                     .from = Network::A,
                     .connections = 2,
                     .grouped = true,
                     .fails = "wake"},
    kGroupIsNotWokenAtHome{.name = "GroupIsNotWokenAtHome",
                           .from = Network::B,
                           .connections = 2,
                           .grouped = true,
                           .fails = "wake"},
    kListenerLeavesHome{.name = "ListenerLeavesHome", .from = Network::A, .listens = true},
    kListenerReturnsHome{.name = "ListenerReturnsHome", .from = Network::B, .listens = true};

// Longer than the kernel keeps the redirect, and than the importer waits before it asks.
constexpr milliseconds kLong{12'000};

// A run has at least this many visible actions of each host, and this many messages.
constexpr std::size_t kLeastActions = 10, kLeastMessages = 5;
constexpr int kWalks = 15;

struct NamedFate {
  Fate fate;
  const char* name;
};
constexpr NamedFate kFates[] = {{Fate::IsLost, "lost"},
                                {Fate::AnswerIsLost, "answer-lost"},
                                {Fate::ComesTwice, "twice"},
                                {Fate::ComesAgainLate, "again-late"},
                                {Fate::IsLate, "late"}};

bool is_chosen(const std::string& cell) {
  const char* chosen = std::getenv("CELL");
  return !chosen || cell == chosen;
}

// A recorded run without faults, and runs of the same scenario with one fault.
class Commit : public testing::TestWithParam<Scenario> {
 protected:
  void SetUp() override {
    if (!is_sandboxed) GTEST_SKIP() << "no namespaces to be had here";
    std::string why;
    network_ = Network::get(why);
    if (!network_) GTEST_SKIP() << why;
    TwoHosts hosts(*network_, GetParam());
    hosts.run();
    ASSERT_EQ(hosts.faults(), "");
    ASSERT_EQ(hosts.moved(), !GetParam().stays());
    for (const auto place : {Network::A, Network::B}) {
      actions_[place] = hosts.actions(place);
      if (hosts.moved()) {
        ASSERT_GE(actions_[place].size(), kLeastActions);
      }
    }
    messages_ = hosts.messages();
    if (hosts.moved()) {
      ASSERT_GE(messages_.size(), kLeastMessages);
    }
  }
  Network::Place exporter() const { return GetParam().from; }
  Network::Place importer() const { return exporter() == Network::A ? Network::B : Network::A; }

  // Kills the host before each of its visible actions in turn.
  void die_everywhere(Network::Place place, milliseconds pause) {
    for (std::size_t i = 0; i < actions_[place].size(); ++i)
      die({{place, i, pause}}, actions_[place][i]);
  }
  void die(const std::deque<Crash>& crashes, const std::string& action) {
    std::string cell;
    for (const Crash& each : crashes)
      cell += fmt::format("{}{}", each.host == Network::A ? "A" : "B", each.action);
    if (!is_chosen(cell)) return;
    TwoHosts hosts(*network_, GetParam());
    hosts.crashes = crashes;
    hosts.run();
    const Crash& first = crashes.front();
    EXPECT_TRUE(hosts.crashed()) << cell;
    EXPECT_TRUE(std::equal(actions_[first.host].begin(),
                           actions_[first.host].begin() + std::ptrdiff_t(first.action),
                           hosts.actions(first.host).begin()))
        << cell << ": the actions before it are others than in the run without faults";
    EXPECT_EQ(hosts.faults(), "") << cell << ": dies before \"" << action << "\"";
  }

  void disturb_each_message() {
    for (const auto& [fate, name] : kFates)
      for (std::size_t i = 0; i < messages_.size(); ++i) {
        const std::string cell = fmt::format("M{}{}", i, name);
        if (!is_chosen(cell)) continue;
        TwoHosts hosts(*network_, GetParam());
        hosts.fate = [&, fate = fate](std::size_t number) {
          return number == i ? fate : Fate::Arrives;
        };
        hosts.run();
        EXPECT_EQ(hosts.faults(), "") << cell << ": " << messages_[i];
      }
  }

  Network* network_ = nullptr;
  // Of the run without faults.
  std::vector<std::string> actions_[2], messages_;
};

std::string name_of(const testing::TestParamInfo<Scenario>& info) {
  return info.param.name;
}

class Crashes : public Commit {};
INSTANTIATE_TEST_SUITE_P(Connection, Crashes,
                         testing::Values(kLeavesHome, kReturnsHome, kGroup, kGroupReturns),
                         name_of);

TEST_P(Crashes, TheExporterMayDieAtAnyPoint) {
  die_everywhere(exporter(), milliseconds(0));
}

TEST_P(Crashes, TheImporterMayDieAtAnyPoint) {
  die_everywhere(importer(), milliseconds(0));
}

class Batches : public Commit {};
INSTANTIATE_TEST_SUITE_P(Connections, Batches, testing::Values(kSeveral), name_of);

TEST_P(Batches, TheExporterMayDieAtAnyPoint) {
  die_everywhere(exporter(), milliseconds(0));
}

class Guards : public Commit {};
INSTANTIATE_TEST_SUITE_P(Connection, Guards, testing::Values(kIsGuarded, kGroupIsGuarded), name_of);

TEST_P(Guards, TheExporterMayDieAtAnyPoint) {
  die_everywhere(exporter(), kLong);
}

class Absences : public Commit {};
INSTANTIATE_TEST_SUITE_P(Connection, Absences,
                         testing::Values(kIsWritten, kIsWrittenOnTheWayHome, kGroupIsWritten),
                         name_of);

TEST_P(Absences, TheExporterMayBeAwayForLong) {
  die_everywhere(exporter(), kLong);
}

TEST_P(Absences, TheImporterMayBeAwayForLong) {
  die_everywhere(importer(), kLong);
}

class Restarts : public Commit {};
INSTANTIATE_TEST_SUITE_P(Connection, Restarts, testing::Values(kIsWritten, kGroupIsWritten),
                         name_of);

// The next daemon of the exporter dies as well, at each point of its start.
TEST_P(Restarts, TheExporterMayDieAtAnyPoint) {
  const auto decided = std::ranges::find(actions_[exporter()], "call Commit");
  ASSERT_NE(decided, actions_[exporter()].end());
  const Crash first{exporter(), std::size_t(decided - actions_[exporter()].begin()), kLong};
  TwoHosts hosts(*network_, GetParam());
  hosts.crashes = {first};
  hosts.run();
  const auto actions = hosts.actions(exporter());
  ASSERT_GE(actions.size(), first.action + 5);
  for (std::size_t i = first.action; i < actions.size(); ++i)
    die({first, {exporter(), i, kLong}}, actions[i]);
}

class Tokens : public Commit {};
INSTANTIATE_TEST_SUITE_P(Export, Tokens,
                         testing::Values(kMayBeGivenUp, kIsGivenUp, kGroupMayBeGivenUp), name_of);

TEST_P(Tokens, TheExporterMayDieAtAnyPoint) {
  die_everywhere(exporter(), milliseconds(0));
}

TEST_P(Tokens, TheImporterMayDieAtAnyPoint) {
  die_everywhere(importer(), milliseconds(0));
}

// The exporter is away for so long that an operator decides at the importer.
class Operators : public Commit {};
INSTANTIATE_TEST_SUITE_P(Connection, Operators, testing::Values(kLeavesHome, kReturnsHome, kGroup),
                         name_of);

TEST_P(Operators, DecideInPlaceOfTheExporter) {
  std::set<std::string> said;
  for (std::size_t i = 0; i < actions_[exporter()].size(); ++i) {
    const std::string cell = fmt::format("O{}", i);
    if (!is_chosen(cell)) continue;
    TwoHosts hosts(*network_, GetParam());
    hosts.crashes = {{exporter(), i, milliseconds(60'000)}};
    hosts.operator_comes = milliseconds(30'000);
    hosts.run();
    EXPECT_TRUE(hosts.crashed()) << cell;
    EXPECT_EQ(hosts.faults(), "") << cell << ": dies before \"" << actions_[exporter()][i] << "\"";
    said.insert(hosts.operator_said());
  }
  if (!std::getenv("CELL")) {
    EXPECT_EQ(said, (std::set<std::string>{"", "commit", "discard"}));
  }
}

class Messages : public Commit {};
INSTANTIATE_TEST_SUITE_P(Connection, Messages,
                         testing::Values(kWithPreCopy, kReturnsHome, kGroupIsWritten), name_of);

TEST_P(Messages, EachMayBeLostLateOrDoubled) {
  disturb_each_message();
}

// The importer has to ask what was decided. The exporter answers, unless only COMMIT has
// what other threads wrote: then the importer goes on asking until COMMIT arrives.
class Questions : public Commit {
 protected:
  void SetUp() override {
    Commit::SetUp();
    if (network_) {
      ASSERT_NE(std::ranges::find(messages_, "QueryOutcome"), messages_.end());
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Connection, Questions,
                         testing::Values(kAsks, kAsksOnTheWayHome, kAsksAndIsWritten, kGroupAsks),
                         name_of);

TEST_P(Questions, TheExporterMayDieAtAnyPoint) {
  die_everywhere(exporter(), milliseconds(0));
}

TEST_P(Questions, TheImporterMayDieAtAnyPoint) {
  die_everywhere(importer(), milliseconds(0));
}

TEST_P(Questions, EachMessageMayBeLostLateOrDoubled) {
  disturb_each_message();
}

class Halves : public Commit {};
INSTANTIATE_TEST_SUITE_P(Connections, Halves, testing::Values(kGroup), name_of);

TEST_P(Halves, OfAGroupDoNotThaw) {
  const auto commit = std::ranges::find(messages_, "Commit") - messages_.begin();
  TwoHosts hosts(*network_, GetParam());
  hosts.fate = [&](std::size_t number) {
    return number == std::size_t(commit) ? Fate::IsHalved : Fate::Arrives;
  };
  hosts.run();
  EXPECT_EQ(hosts.verdict_on_half(), EAGAIN);
  EXPECT_EQ(hosts.faults(), "");
  EXPECT_TRUE(hosts.moved());
}

// The importer has written that they thaw, and cannot go on. They continue where they
// are; if it dies, none of them is at another place than the others.
class Failures : public Commit {};
INSTANTIATE_TEST_SUITE_P(Connections, Failures,
                         testing::Values(kThawFails, kGroupMayNotThaw, kGroupIsNotWoken,
                                         kGroupIsNotWokenAtHome),
                         name_of);

TEST_P(Failures, TheExporterMayDieAtAnyPoint) {
  die_everywhere(exporter(), milliseconds(0));
}

TEST_P(Failures, TheImporterMayDieAtAnyPoint) {
  die_everywhere(importer(), milliseconds(0));
}

class Listeners : public Commit {};
INSTANTIATE_TEST_SUITE_P(Listener, Listeners,
                         testing::Values(kListenerLeavesHome, kListenerReturnsHome), name_of);

TEST_P(Listeners, TheExporterMayDieAtAnyPoint) {
  die_everywhere(exporter(), milliseconds(0));
}

TEST_P(Listeners, TheExporterMayBeAwayForLong) {
  die_everywhere(exporter(), kLong);
}

TEST_P(Listeners, TheImporterMayDieAtAnyPoint) {
  die_everywhere(importer(), milliseconds(0));
}

TEST_P(Listeners, EachMessageMayBeLostLateOrDoubled) {
  disturb_each_message();
}

// Several faults in one run. The seed repeats it.
class Walks : public Commit {};
INSTANTIATE_TEST_SUITE_P(Connection, Walks, testing::Values(kLeavesHome, kReturnsHome, kGroup),
                         name_of);

TEST_P(Walks, ManyFaultsLeaveOneLiveEnd) {
  const char* wanted = std::getenv("SEED");
  for (int i = 0; i < kWalks; ++i) {
    const unsigned seed =
        wanted ? unsigned(std::atoi(wanted)) + unsigned(i) : std::random_device()();
    std::mt19937 random(seed);
    const auto any = [&](std::size_t below) {
      return random() % below;
    };
    TwoHosts hosts(*network_, GetParam());
    hosts.fate = [&](std::size_t) {
      return any(5) == 0 ? kFates[any(std::size(kFates))].fate : Fate::Arrives;
    };
    // After the importer's death there may be no live end.
    hosts.crashes = {{exporter(), any(actions_[exporter()].size()), milliseconds(any(20'000))}};
    hosts.run();
    EXPECT_EQ(hosts.faults(), "") << "SEED=" << seed;
  }
}

}  // namespace
}  // namespace sockmi::daemon
