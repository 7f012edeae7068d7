#include "proxy/relay_state.h"

#include <gtest/gtest.h>

namespace sockmi::proxy {
namespace {

RelayState some_state() {
  RelayState state;
  state.service = "app";
  state.listener = "web";
  state.backend = "one";
  state.client = *SocketAddress::parse("[fd00::1]:4000");
  state.local = *SocketAddress::parse("10.0.0.1:443");
  state.begun = std::chrono::system_clock::time_point(std::chrono::milliseconds(1'700'000'000'123));
  state.idle_left = std::chrono::seconds(17);
  state.to_backend.pending = {1, 2, 3, 4};
  state.to_backend.taken = 1;
  state.to_backend.bytes = 1ull << 40;
  state.to_client.end = End::Closed;
  state.to_client.truncated = true;
  return state;
}

TEST(RelayState, EncodedStateIsReadAgain) {
  const auto read = decode(encode(some_state()));

  ASSERT_TRUE(read) << read.error().reason;
  EXPECT_EQ(read->service, "app");
  EXPECT_EQ(read->listener, "web");
  EXPECT_EQ(read->backend, "one");
  EXPECT_EQ(to_string(read->client), "[fd00::1]:4000");
  EXPECT_EQ(to_string(read->local), "10.0.0.1:443");
  EXPECT_EQ(read->begun, some_state().begun);
  EXPECT_EQ(read->idle_left, std::chrono::seconds(17));
  EXPECT_EQ(read->to_backend.pending, Bytes({2, 3, 4}));  // what was taken does not travel
  EXPECT_EQ(read->to_backend.bytes, 1ull << 40);
  EXPECT_EQ(read->to_backend.end, End::Open);
  EXPECT_EQ(read->to_client.end, End::Closed);
  EXPECT_TRUE(read->to_client.truncated);
}

TEST(RelayState, ALegThatHasEndedInBothDirectionsIsNotNeeded) {
  RelayState state;
  EXPECT_TRUE(state.needs_client() && state.needs_backend());

  state.to_backend.end = End::Closed;
  EXPECT_TRUE(state.needs_client() && state.needs_backend());

  state.to_client.end = End::Ending;  // all is read from the backend, and not yet written
  EXPECT_TRUE(state.needs_client());
  EXPECT_FALSE(state.needs_backend());

  std::swap(state.to_client, state.to_backend);
  EXPECT_FALSE(state.needs_client());
  EXPECT_TRUE(state.needs_backend());
}

TEST(RelayState, ClientsOnUnixSocketsHaveNoAddress) {
  RelayState state = some_state();
  state.client = state.local = {};

  const auto read = decode(encode(state));

  ASSERT_TRUE(read);
  EXPECT_TRUE(read->client.ip.any());
}

TEST(RelayState, CutAndChangedBytesAreRefusedOrReadSafely) {
  const Secret good = encode(some_state());

  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(decode(ByteView(good).first(size))) << size;
  for (std::size_t i = 0; i < good.size(); ++i) {
    Secret changed = good;
    changed[i] ^= 0xff;
    if (const auto read = decode(changed)) {
      EXPECT_LE(read->to_backend.pending.size(), kMaxPendingBytes);
      EXPECT_TRUE(decode(encode(*read)));
    }
  }
}

TEST(RelayState, ImpossibleStatesAreRefused) {
  RelayState late = some_state();
  late.to_backend.end = End::Broken;
  RelayState large = some_state();
  large.to_client.end = End::Open;
  large.to_client.pending.resize(kMaxPendingBytes + 1);
  RelayState nameless = some_state();
  nameless.service.clear();
  RelayState early = some_state();
  early.begun = std::chrono::system_clock::time_point(std::chrono::milliseconds(-1));

  for (const auto& state : {late, large, nameless, early}) {
    const auto read = decode(encode(state));
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, EBADMSG);
  }
}

}  // namespace
}  // namespace sockmi::proxy
