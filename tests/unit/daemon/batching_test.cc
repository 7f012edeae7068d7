#include "migration/batching.h"

#include <gtest/gtest.h>
#include <sockmi/sockmi.h>
#include <sys/socket.h>

namespace sockmi::daemon {
namespace {

class BatchingTest : public testing::Test {
 protected:
  // Adds an endpoint of which `size` bytes travel in the freeze.
  void add(std::size_t size, std::uint8_t state = SOCKMI_CONNECTED, std::uint32_t group = 0) {
    ExportItem item;
    item.socket.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    item.endpoint.payload = Secret(size);
    item.endpoint.state = state;
    item.endpoint.group = group;
    items_.push_back(std::move(item));
  }
  // Returns the sizes of the endpoints in each batch.
  std::vector<std::vector<std::size_t>> cut() {
    std::vector<std::vector<std::size_t>> out;
    for (const auto& share : shares(std::move(items_))) {
      out.emplace_back();
      for (const auto& item : share)
        out.back().push_back(item.endpoint.payload.size());
    }
    return out;
  }
  using Sizes = std::vector<std::vector<std::size_t>>;
  std::vector<ExportItem> items_;
};

TEST_F(BatchingTest, SmallEndpointsShareABatch) {
  for (int i = 0; i < 1000; ++i)
    add(1000);
  EXPECT_EQ(cut(), Sizes{std::vector<std::size_t>(1000, 1000)});
}

TEST_F(BatchingTest, BatchesKeepTheOrderOfTheEndpoints) {
  for (const std::size_t size :
       {kMaxFrozenBytesPerBatch / 2, kMaxFrozenBytesPerBatch / 2, std::size_t(1),
        kMaxFrozenBytesPerBatch, std::size_t(2), std::size_t(3)})
    add(size);
  EXPECT_EQ(cut(), (Sizes{{kMaxFrozenBytesPerBatch / 2, kMaxFrozenBytesPerBatch / 2},
                          {1},
                          {kMaxFrozenBytesPerBatch},
                          {2, 3}}));
}

TEST_F(BatchingTest, AnEndpointOverTheLimitHasItsOwnBatch) {
  for (const std::size_t size : {std::size_t(1), 3 * kMaxFrozenBytesPerBatch, std::size_t(2)})
    add(size);
  EXPECT_EQ(cut(), (Sizes{{1}, {3 * kMaxFrozenBytesPerBatch}, {2}}));
}

TEST_F(BatchingTest, EndpointsOfSeveralKindsDoNotMoveTogether) {
  add(1, SOCKMI_CONNECTED);
  add(2, SOCKMI_SERVER_ESTABLISHED);
  add(3, SOCKMI_LISTENING);
  add(4, SOCKMI_BOUND);
  EXPECT_EQ(cut(), (Sizes{{1, 2}, {3}, {4}}));
}

TEST_F(BatchingTest, AGroupIsNotSplit) {
  add(1);
  for (const std::size_t size : {std::size_t(2), kMaxFrozenBytesPerBatch, std::size_t(3)})
    add(size, SOCKMI_CONNECTED, 7);
  for (const std::size_t size : {std::size_t(4), std::size_t(5)})
    add(size, SOCKMI_CONNECTED, 8);
  EXPECT_EQ(cut(), (Sizes{{1}, {2, kMaxFrozenBytesPerBatch, 3}, {4, 5}}));
}

TEST_F(BatchingTest, NoEndpointsYieldNoBatch) {
  EXPECT_EQ(cut(), Sizes());
}

}  // namespace
}  // namespace sockmi::daemon
