// An exporter whose daemon starts again, perhaps in another boot, gets answers to COMMIT
// about hops of a connection that has moved on since, or came back. No socket is
// involved.
#include <random>

#include <gtest/gtest.h>

#include "connections/imported.h"
#include "migration/orphaned_sockets.h"
#include "migration/outcomes.h"
#include "test_host.h"

namespace sockmi::daemon {
namespace {

// Answers a COMMIT by the verdicts of the test, if it has all of them, and records which
// ends were reported.
class ImportersChannel : public cluster::ControlChannel {
 public:
  asio::awaitable<Result<Secret>> call(std::string host, SocketAddress, Secret message,
                                       milliseconds) override {
    const auto* said = flatbuffers::GetRoot<wire::Message>(message.data());
    if (const auto* end = said->request_as_Ended()) ended[host] = end->generation();
    const auto* commit = said->request_as_Commit();
    if (!commit) co_return wire::pack_answer(Result<>());
    const auto committed = wire::read_commit(*commit);
    std::vector<Result<>> all;
    for (const auto& each : *committed) {
      const auto verdict = verdicts.find(each.id);
      if (verdict == verdicts.end()) co_return fail(EHOSTUNREACH, "silent");
      all.push_back(verdict_on(verdict->second));
    }
    co_return wire::pack_answer(all);
  }
  void set_member_addresses(std::function<bool(const IpAddress&)>) override {}
  bool connected(const std::string&) const override { return false; }

  std::map<wire::MigrationId, Outcome> verdicts;
  std::map<std::string, std::uint64_t> ended;  // generations, by the host that was told
};

class EarlierHopsTest : public testing::Test {
 protected:
  EarlierHopsTest() { start("one"); }
  // The next daemon, in this boot.
  void start(const std::string& boot) {
    host_.reset();  // while what its coroutines refer to exists
    io_ = std::make_unique<asio::io_context>();
    auto steering = std::make_unique<FakeSteering>();
    host_ = std::make_unique<TestHost>(
        *io_, Settings{.host = "A", .address = *IpAddress::parse("127.0.0.1")}, folder_.path,
        std::move(steering), boot);
    host_->use(std::make_unique<ImportersChannel>());
    for (const auto& [tuple, away] : table().remote())
      host_->fake_steering.redirected[tuple] = {tuple, away.address, std::nullopt, false};
  }
  void ask_importers() {
    adopt_orphans(host_->exports, {});
    io_->poll();
  }
  ImportersChannel& importers() { return static_cast<ImportersChannel&>(*host_->control); }
  ConnectionTable& table() { return host_->connections.table; }
  bool is_redirected() { return host_->fake_steering.redirected.contains(tuple_); }

  RemoteConnection at(const std::string& host, std::uint64_t generation,
                      const char* home = "A") const {
    return {"web",      host, *IpAddress::parse("192.0.2.7"), home, control_address_, false,
            generation, {}};
  }
  ImportedConnection here(std::uint64_t generation, const char* home) const {
    return {tuple_, "web", home, control_address_, "M", control_address_, generation};
  }
  Decision to(const std::string& host, std::uint64_t generation) const {
    return {.cookie = 7,
            .tuple = tuple_,
            .host = host,
            .control_address = control_address_,
            .generation = generation};
  }

  TestFolder folder_;
  std::unique_ptr<asio::io_context> io_;
  std::unique_ptr<TestHost> host_;
  const wire::MigrationId id_{1};
  const SocketAddress control_address_ = *SocketAddress::parse("192.0.2.5:7078");
  const FourTuple tuple_{*SocketAddress::parse("127.0.0.1:1"),
                         *SocketAddress::parse("192.0.2.9:9")};
};

TEST_F(EarlierHopsTest, AConnectionThatIsAtTheImporterOnceMoreStaysThere) {
  for (const Outcome outcome : {Outcome::Ended, Outcome::NeverThawed}) {
    ASSERT_TRUE(table().log_decision(id_, to("M", 5), at("M", 5)));
    table().mark_moved(tuple_, at("K", 6));
    table().mark_moved(tuple_, at("M", 7));
    start("one");
    importers().verdicts[id_] = outcome;
    ask_importers();
    EXPECT_TRUE(table().journal().decisions().empty()) << "it is not settled";
    ASSERT_TRUE(table().find_remote(tuple_));
    EXPECT_EQ(*table().find_remote(tuple_), at("M", 7));
    EXPECT_TRUE(is_redirected());
  }
}

TEST_F(EarlierHopsTest, AConnectionThatCameBackHereStaysHere) {
  for (const Outcome outcome : {Outcome::Lives, Outcome::Ended, Outcome::NeverThawed}) {
    ASSERT_TRUE(table().log_decision(id_, to("H", 6), std::nullopt));  // it goes home
    start("two");
    const ImportedConnection back = here(7, "H");
    add_imported(table(), host_->connections.rules, 9, back);
    host_->connections.rules.readd(tuple_, back.home_control);
    importers().verdicts[id_] = outcome;
    ask_importers();
    EXPECT_TRUE(importers().ended.empty()) << "home would end the redirect of a live connection";
    EXPECT_EQ(table().imported(), (ConnectionTable::Imported{{9, back}}));
    EXPECT_TRUE(host_->connections.rules.addresses().has(tuple_));
    EXPECT_TRUE(table().journal().decisions().empty()) << "it is not settled";
    table().end_notice(table().end_imported(9)->notice);
  }
}

TEST_F(EarlierHopsTest, HomeIsToldWhichHopHasEnded) {
  ASSERT_TRUE(table().log_decision(id_, to("H", 6), std::nullopt));
  start("one");
  importers().verdicts[id_] = Outcome::Ended;
  ask_importers();
  EXPECT_EQ(importers().ended, (std::map<std::string, std::uint64_t>{{"H", 6}}));
}

// Its socket ended with the boot, so it does not continue here.
TEST_F(EarlierHopsTest, AConnectionThatNeverThawedEndsWithTheExportersBoot) {
  ASSERT_TRUE(table().log_decision(id_, to("M", 5), at("M", 5)));
  start("two");
  importers().verdicts[id_] = Outcome::NeverThawed;
  ask_importers();
  EXPECT_EQ(table().find_remote(tuple_), nullptr);
  EXPECT_FALSE(is_redirected());
  EXPECT_TRUE(host_->in_doubt.all().empty());
  EXPECT_EQ(host_->history.all().back().result, "lost");
}

TEST_F(EarlierHopsTest, HomeIsToldThatAConnectionEndedWithTheExportersBoot) {
  table().add_imported(7, here(5, "H"));
  ASSERT_TRUE(table().log_decision(id_, to("M", 6), at("M", 6, "H")));
  start("two");
  importers().verdicts[id_] = Outcome::NeverThawed;
  ask_importers();
  EXPECT_TRUE(table().imported().empty());
  EXPECT_TRUE(table().remote().empty());
  EXPECT_EQ(importers().ended.at("H"), 6u);
}

// A connection leaves home, goes from host to host, and comes back, while home's daemon
// starts again and again, and importers answer late, twice, in any order, and wrongly
// about all hops but the present one.
TEST_F(EarlierHopsTest, WhateverIsSaidOfEarlierHopsHomeKnowsWhereTheConnectionIs) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  const auto some = [&](int most) {
    return std::uniform_int_distribution<int>(0, most)(random);
  };
  std::uint64_t generation = 0, cookie = 100;
  std::optional<RemoteConnection> truth;
  std::map<wire::MigrationId, std::uint64_t> said;  // the generation of each decision
  for (int step = 0; step < 3000; ++step) {
    const std::string host = some(1) ? "M" : "K";
    const wire::MigrationId id{std::uint8_t(step), std::uint8_t(step >> 8), 1};
    ++generation;
    if (!truth) {
      truth = at(host, generation);
      said[id] = generation;
      ASSERT_TRUE(table().log_decision(id, to(host, generation), truth));
      host_->fake_steering.redirected[tuple_] = {tuple_, truth->address, std::nullopt, false};
    } else if (some(3) > 0) {
      truth = at(host, generation);
      table().mark_moved(tuple_, *truth);
    } else {
      ASSERT_TRUE(table().log_thaw(
          truth->host,
          {{.id = id, .cookie = ++cookie, .tuple = tuple_, .generation = generation}}));
      table().mark_returned(tuple_);
      host_->fake_steering.redirected.erase(tuple_);
      truth.reset();
    }
    if (some(2) > 0) continue;
    start(some(3) ? "one" : "two");
    for (const auto& [decision, of] : said) {
      if (some(1)) continue;
      const bool is_present = truth && truth->generation == of;
      importers().verdicts[decision] =
          is_present ? Outcome::Lives
                     : std::array{Outcome::Lives, Outcome::NeverThawed, Outcome::Ended}[some(2)];
    }
    ask_importers();
    ASSERT_EQ(table().remote(),
              (truth ? ConnectionTable::Remote{{tuple_, *truth}} : ConnectionTable::Remote{}))
        << step;
    ASSERT_EQ(is_redirected(), truth.has_value()) << step;
    ASSERT_TRUE(importers().ended.empty()) << step;
  }
  EXPECT_LE(table().journal().decisions().size(), 1u) << "a hop is over when the next one returns";
}

}  // namespace
}  // namespace sockmi::daemon
