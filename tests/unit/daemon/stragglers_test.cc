// Tests which host may send a straggler, and which segments are accepted.
#include "migration/stragglers.h"

#include <gtest/gtest.h>

namespace sockmi::daemon {
namespace {

class StragglersTest : public testing::Test {
 protected:
  StragglersTest() {
    image_.local_ip = {192, 0, 2, 1};
    image_.local_port = 443;
    image_.remote_ip = {192, 0, 2, 9};
    image_.remote_port = 9;
    image_.rcv_seq = 1000;
    image_.snd_seq = 503;
    image_.send_queue = {1, 2, 3};
    image_.window = std::make_unique<wire::Window>(0, 0, 100, 100, 0);
    said_.local = "192.0.2.1:443";
    said_.remote = "192.0.2.9:9";
    said_.seq = 1000;
    said_.ack = 500;
    said_.delta = std::make_unique<wire::FreezeDeltaT>();
    said_.delta->bytes = {1};
  }
  int refused(const std::string& host) {
    const auto checked = stragglers_.check(host, said_);
    return checked ? 0 : checked.error().code;
  }
  wire::TcpT image_;
  wire::StragglerT said_;
  Stragglers stragglers_;
};

TEST_F(StragglersTest, IsAcceptedFromTheExporterAlone) {
  EXPECT_EQ(refused("B"), EACCES) << "it did not come from there";
  stragglers_.expect("B", image_, 0, 7);
  EXPECT_EQ(refused("B"), 0);
  EXPECT_EQ(refused("C"), EACCES);
}

TEST_F(StragglersTest, MustFitTheSequenceNumbersOfTheImage) {
  stragglers_.expect("B", image_, 0, 7);
  said_.seq = 999;
  EXPECT_EQ(refused("B"), EACCES);
  said_.seq = 1000;
  said_.ack = 501;
  EXPECT_EQ(refused("B"), EACCES);
  said_.ack = 500;
  said_.delta->bytes.resize(101);
  EXPECT_EQ(refused("B"), EACCES) << "the peer could not have sent so much";
  said_.delta->bytes.resize(100);
  EXPECT_EQ(refused("B"), 0);
  said_.delta.reset();
  EXPECT_EQ(refused("B"), EBADMSG);
}

TEST_F(StragglersTest, MustFollowTheBytesOfCommit) {
  stragglers_.expect("B", image_, 20, 7);
  EXPECT_EQ(refused("B"), EACCES);
  said_.seq = 1020;
  EXPECT_EQ(refused("B"), 0);
}

TEST_F(StragglersTest, IsRefusedForAnotherConnection) {
  stragglers_.expect("B", image_, 0, 7);
  said_.remote = "192.0.2.9:10";
  EXPECT_EQ(refused("B"), EACCES);
}

TEST_F(StragglersTest, IsForTheSocketThatCame) {
  stragglers_.expect("B", image_, 0, 7);
  EXPECT_EQ(stragglers_.check("B", said_)->cookie, 7u);
  stragglers_.expect("B", image_, 0, 8);  // it left, and came again
  EXPECT_EQ(stragglers_.check("B", said_)->cookie, 8u);
}

}  // namespace
}  // namespace sockmi::daemon
