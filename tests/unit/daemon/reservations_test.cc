// A slot belongs to the host that reserved it, and no host has too many.
#include "migration/reservations.h"

#include <gtest/gtest.h>

#include "cluster/discovery.h"

namespace sockmi::daemon {
namespace {

class ReservationsTest : public testing::Test {
 protected:
  static wire::MigrationId id(std::uint32_t number) { return cluster::member({}, number); }
  std::shared_ptr<Reservations::Batch> batch() { return std::make_shared<Reservations::Batch>(); }
  Reservations all_;
};

TEST_F(ReservationsTest, ASlotBelongsToItsReserver) {
  EXPECT_EQ(all_.add(id(1), "B", batch()), true);
  EXPECT_EQ(all_.add(id(1), "B", batch()), false) << "confirmed twice";
  EXPECT_EQ(all_.add(id(1), "C", batch()).error().code, EACCES);
  EXPECT_TRUE(all_.check(id(1), "B"));
  EXPECT_EQ(all_.check(id(1), "C").error().code, EACCES);
  EXPECT_EQ(all_.check(id(2), "B").error().code, ENOBUFS);
}

TEST_F(ReservationsTest, EachHostHasALimitOfItsOwn) {
  for (std::uint32_t i = 0; i < Reservations::kMostOfAHost; ++i)
    ASSERT_TRUE(all_.add(id(i), "B", batch()));
  EXPECT_EQ(all_.add(id(1u << 20), "B", batch()).error().code, ENOBUFS);
  EXPECT_TRUE(all_.add(id(1u << 20), "C", batch()));
  all_.erase(id(0));
  EXPECT_EQ(all_.of("B"), Reservations::kMostOfAHost - 1);
  EXPECT_TRUE(all_.add(id(0), "B", batch()));
}

TEST_F(ReservationsTest, ProlongExtendsOneBatchUpToTheMaximum) {
  const auto first = batch(), second = batch();
  ASSERT_TRUE(all_.add(id(1), "B", first) && all_.add(id(2), "C", second));
  const auto before = second->prolonged;
  first->prolonged -= std::chrono::seconds(10);
  all_.prolong(id(1));
  EXPECT_GE(first->prolonged, first->made);
  EXPECT_EQ(second->prolonged, before);
  first->made -= std::chrono::hours(1);
  all_.prolong(id(1));
  EXPECT_EQ(first->prolonged, first->made + Reservations::kMaxLifetime);
}

}  // namespace
}  // namespace sockmi::daemon
