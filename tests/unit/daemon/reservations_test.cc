// A slot belongs to the host that reserved it, no host has too many, and each is filled
// only by what it was reserved for.
#include "migration/reservations.h"

#include <gtest/gtest.h>
#include <sockmi/sockmi.h>

#include "cluster/discovery.h"

namespace sockmi::daemon {
namespace {

class ReservationsTest : public testing::Test {
 protected:
  static wire::MigrationId id(std::uint32_t number) { return cluster::member({}, number); }
  std::shared_ptr<Reservations::Batch> batch() {
    cluster::Offer offer;
    offer.service = "web";
    offer.owner = {1000, "alice"};
    offer.state = SOCKMI_SERVER_ESTABLISHED;
    offer.size = 100;
    return std::make_shared<Reservations::Batch>(offer);
  }
  static wire::Endpoint endpoint(std::size_t tls = 10, std::size_t payload = 10) {
    wire::Endpoint out;
    out.service = "web";
    out.owner = {1000, "alice"};
    out.state = SOCKMI_SERVER_ESTABLISHED;
    out.tls = Secret(tls);
    out.payload = Secret(payload);
    return out;
  }
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

TEST_F(ReservationsTest, AdmitsOnlyWhatTheSlotIsReservedFor) {
  ASSERT_TRUE(all_.add(id(1), "B", batch()));
  auto of_service = endpoint(), of_uid = endpoint(), of_name = endpoint(), listener = endpoint();
  of_service.service = "db";
  of_uid.owner.uid = 0;
  of_name.owner.name = "root";
  listener.state = SOCKMI_LISTENING;
  for (const wire::Endpoint& other :
       {std::cref(of_service), std::cref(of_uid), std::cref(of_name), std::cref(listener)})
    EXPECT_EQ(all_.admit(id(1), "B", other).error().code, EACCES);
  EXPECT_EQ(all_.admit(id(1), "C", endpoint()).error().code, EACCES);
  EXPECT_EQ(all_.admit(id(2), "B", endpoint()).error().code, ENOBUFS);
  EXPECT_TRUE(all_.admit(id(1), "B", endpoint()));
}

TEST_F(ReservationsTest, AdmitsNoMoreBytesThanTheBatchReserved) {
  const auto one = batch();
  ASSERT_TRUE(all_.add(id(1), "B", one) && all_.add(id(2), "B", one));
  EXPECT_EQ(all_.admit(id(1), "B", endpoint(60, 41)).error().code, EMSGSIZE);
  EXPECT_TRUE(all_.admit(id(1), "B", endpoint(60, 10)));
  EXPECT_EQ(all_.admit(id(2), "B", endpoint(31, 0)).error().code, EMSGSIZE);
  EXPECT_TRUE(all_.admit(id(2), "B", endpoint(10, 20)));
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
