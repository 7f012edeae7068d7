// Tests that memory and journal say the same after each change of the table.
#include "connections/table.h"

#include <gtest/gtest.h>

#include "unit/armed_fault.h"
#include "unit/temporary_folder.h"

namespace sockmi::daemon {
namespace {

class TableTest : public testing::Test {
 protected:
  void SetUp() override { open(); }
  // Opens the table again, as the next daemon does.
  void open() {
    table_.reset();
    auto journal = Journal::open(folder_);
    ASSERT_TRUE(journal);
    table_.emplace(std::move(*journal), "home", control_address_);
  }
  // What the next daemon would know.
  Journal on_disk() {
    auto journal = Journal::look(folder_);
    EXPECT_TRUE(journal);
    return std::move(*journal);
  }
  ConnectionTable::Imported foreign() {
    auto all = table_->imported();
    std::erase_if(all, [&](const auto& each) { return !table_->is_foreign(each.second); });
    return all;
  }
  void expect_agreement() {
    const Journal journal = on_disk();
    EXPECT_EQ(journal.imported(), foreign());
    EXPECT_EQ(journal.away(), table_->remote());
  }

  const wire::MigrationId id_{1};
  const SocketAddress control_address_ = *SocketAddress::parse("192.0.2.1:7078");
  const FourTuple tuple_{*SocketAddress::parse("192.0.2.1:443"),
                         *SocketAddress::parse("192.0.2.9:1001")};
  const IpAddress address_ = *IpAddress::parse("192.0.2.2");
  const RemoteConnection ours_{.service = "web",
                               .host = "B",
                               .address = address_,
                               .home = "home",
                               .home_control = control_address_,
                               .generation = 10};
  const RemoteConnection forwarded_{.service = "web",
                                    .host = "B",
                                    .address = address_,
                                    .home = "A",
                                    .home_control = control_address_,
                                    .generation = 10};
  const ImportedConnection imported_{.tuple = tuple_,
                                     .service = "web",
                                     .home = "A",
                                     .home_control = control_address_,
                                     .from = "B",
                                     .from_control = control_address_,
                                     .generation = 9};
  const Decision decision_{
      .cookie = 7, .tuple = tuple_, .host = "B", .control_address = control_address_};
  const test::TemporaryFolder temporary_;
  const std::filesystem::path& folder_ = temporary_.path;
  std::optional<ConnectionTable> table_;
};

TEST_F(TableTest, ADecisionMovesTheConnectionInMemoryAndJournal) {
  table_->add_imported(7, imported_);
  ASSERT_TRUE(table_->log_decision(id_, decision_, forwarded_));
  EXPECT_FALSE(table_->find_imported(7));
  EXPECT_EQ(*table_->find_remote(tuple_), forwarded_);
  EXPECT_TRUE(table_->journal().has(id_));
  expect_agreement();
}

TEST_F(TableTest, AConnectionThatGoesHomeLeavesNoRecord) {
  table_->add_imported(7, imported_);
  ASSERT_TRUE(table_->log_decision(id_, decision_, std::nullopt));
  EXPECT_TRUE(table_->imported().empty());
  EXPECT_TRUE(table_->remote().empty());
  expect_agreement();
}

TEST_F(TableTest, ADecisionThatTheDiskRefusesChangesNothing) {
  table_->add_imported(7, imported_);
  const test::ArmedFault fault("journal-write");
  EXPECT_FALSE(table_->log_decision(id_, decision_, forwarded_));
  EXPECT_EQ(*table_->find_imported(7), imported_);
  EXPECT_FALSE(table_->find_remote(tuple_));
  EXPECT_FALSE(table_->journal().has(id_));
  expect_agreement();
}

TEST_F(TableTest, ADecisionThatIsTakenBackLeavesTheConnectionHere) {
  table_->add_imported(7, imported_);
  ASSERT_TRUE(table_->log_decision(id_, decision_, forwarded_));
  table_->undo_decision(id_, decision_, imported_);
  EXPECT_EQ(*table_->find_imported(7), imported_);
  EXPECT_TRUE(table_->remote().empty());
  EXPECT_FALSE(table_->journal().has(id_));
  expect_agreement();
}

TEST_F(TableTest, AThawThatTheDiskRefusesIsNotRecorded) {
  const test::ArmedFault fault("journal-write");
  EXPECT_FALSE(table_->log_thaw("B", {{id_, 7}}));
  EXPECT_TRUE(table_->journal().thawed().empty());
  ASSERT_TRUE(table_->log_thaw("B", {{id_, 7}}));
  EXPECT_EQ(on_disk().thawed(), table_->journal().thawed());
}

TEST_F(TableTest, TheNextDaemonHasTheSameTable) {
  table_->add_imported(7, imported_);
  table_->mark_moved({tuple_.local, {}}, ours_);
  const auto imported = table_->imported();
  const auto remote = table_->remote();
  open();
  EXPECT_EQ(table_->imported(), imported);
  EXPECT_EQ(table_->remote(), remote);
}

TEST_F(TableTest, AConnectionAtItsHomeIsNotInTheJournal) {
  ImportedConnection home = imported_;
  home.home = "home";
  EXPECT_TRUE(table_->add_imported(7, home));
  EXPECT_TRUE(on_disk().imported().empty());
  const auto ended = table_->end_imported(7);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->notice, 0u) << "nobody has to be told";
  EXPECT_FALSE(table_->end_imported(7)) << "it is gone";
}

TEST_F(TableTest, AConnectionIsAtHomeAfterItsAddressWasTakenOver) {
  table_->add_imported(7, imported_);
  table_->rehome(7);
  EXPECT_EQ(table_->find_imported(7)->home, "home");
  EXPECT_EQ(table_->find_imported(7)->home_control, control_address_);
  EXPECT_TRUE(on_disk().imported().empty());
  expect_agreement();
}

TEST_F(TableTest, ASecondRecordOfASocketReplacesTheFirst) {
  EXPECT_TRUE(table_->add_imported(7, imported_));
  ImportedConnection newer = imported_;
  newer.generation = 20;
  EXPECT_FALSE(table_->add_imported(7, newer));
  EXPECT_EQ(table_->find_imported(7)->generation, 20u);
  expect_agreement();
}

TEST_F(TableTest, TheEndOfAnImportedConnectionIsADutyToNotifyItsHome) {
  table_->add_imported(7, imported_);
  const auto ended = table_->end_imported(7);
  ASSERT_TRUE(ended);
  EXPECT_EQ(ended->connection, imported_);
  expect_agreement();
  open();
  EXPECT_EQ(table_->journal().pending_ends().at(ended->notice), imported_);
  table_->end_notice(ended->notice);
  EXPECT_TRUE(on_disk().pending_ends().empty());
}

TEST_F(TableTest, TheEndOfOurOwnConnectionIsRememberedForLateMessages) {
  table_->mark_moved(tuple_, ours_);
  EXPECT_EQ(table_->end_remote(tuple_, 9).notice, 0u);
  EXPECT_TRUE(table_->has_ended(tuple_, 10)) << "of the record, which is newer than the message";
  EXPECT_FALSE(table_->has_ended(tuple_, 11));
  EXPECT_TRUE(table_->remote().empty());
  expect_agreement();
}

TEST_F(TableTest, TheEndOfAForwardedConnectionIsADutyToNotifyItsHome) {
  table_->mark_moved(tuple_, forwarded_);
  const auto ended = table_->end_remote(tuple_, 12);
  EXPECT_EQ(ended.connection.home, "A");
  EXPECT_EQ(ended.connection.generation, 12u);
  EXPECT_EQ(on_disk().pending_ends().at(ended.notice), ended.connection);
  expect_agreement();
}

TEST_F(TableTest, AConnectionThatIsSetAsideStaysInTheJournal) {
  table_->mark_moved(tuple_, ours_);
  table_->set_aside(tuple_);
  EXPECT_FALSE(table_->find_remote(tuple_));
  EXPECT_TRUE(on_disk().away().contains(tuple_));
  table_->mark_returned(tuple_);
  expect_agreement();
}

TEST_F(TableTest, OnlyItsHolderBringsOurConnectionHome) {
  EXPECT_TRUE(table_->may_come("C", tuple_)) << "it never left";
  table_->mark_moved(tuple_, ours_);
  EXPECT_TRUE(table_->may_come("B", tuple_));
  EXPECT_EQ(table_->may_come("C", tuple_).error().code, EBUSY);
  table_->mark_moved(tuple_, forwarded_);
  EXPECT_EQ(table_->may_come("B", tuple_).error().code, EBUSY) << "its home does not know yet";
}

TEST_F(TableTest, APeerIsUnheardAsLongAsItsConnectionIsAtOnePlace) {
  EXPECT_FALSE(table_->set_unheard(tuple_, true)) << "it is not remote";
  table_->mark_moved(tuple_, ours_);
  EXPECT_TRUE(table_->set_unheard(tuple_, true));
  EXPECT_FALSE(table_->set_unheard(tuple_, true)) << "known already";
  RemoteConnection now = ours_;
  now.address = *IpAddress::parse("192.0.2.3");
  table_->mark_moved(tuple_, now);
  EXPECT_TRUE(table_->is_unheard(tuple_)) << "its holder has another address";
  now.generation = 11;
  table_->mark_moved(tuple_, now);
  EXPECT_FALSE(table_->is_unheard(tuple_)) << "it moved";
  EXPECT_TRUE(table_->set_unheard(tuple_, true));
  table_->mark_returned(tuple_);
  EXPECT_EQ(table_->unheard(), 0u);
}

// Every fact that a full disk cannot refuse is true at once, and written later.
TEST_F(TableTest, AFullDiskDelaysWhatItCannotRefuse) {
  const test::ArmedFault fault("journal-write", 2);
  table_->add_imported(7, imported_);
  EXPECT_EQ(*table_->find_imported(7), imported_);
  EXPECT_TRUE(on_disk().imported().empty());
  table_->write_again();
  table_->write_again();
  expect_agreement();
}

}  // namespace
}  // namespace sockmi::daemon
