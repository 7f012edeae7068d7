#include "proxy/relay_runner.h"

#include <gtest/gtest.h>
#include <boost/asio/io_context.hpp>

#include "unit/proxy/socket_pairs.h"

namespace sockmi::proxy {
namespace {

namespace asio = boost::asio;
using test::await;
using test::Pair;
using test::tcp_pair;

constexpr std::chrono::hours kIdle{1};

Relay::Parts parts_of(Pair& client, Pair& backend) {
  Relay::Parts parts;
  parts.client = std::make_unique<PlainStream>(std::move(client.ours));
  parts.backend = std::make_unique<PlainStream>(std::move(backend.ours));
  return parts;
}

void abort(StoppedRelay relay) {
  asio::io_context io;
  relay.on_end = [](const RelayRunner*, const RelayState&, std::string_view) {
  };
  std::make_shared<RelayRunner>(io.get_executor(), std::move(relay))->abort("a reason");
}

void destroy(StoppedRelay) {}

// What ends a relay before its end.
using Cut = void (*)(StoppedRelay);
class CutRelayTest : public testing::TestWithParam<Cut> {};

// The client has its whole answer, as far as the relay is concerned; the backend has not
// taken all of the request.
TEST_P(CutRelayTest, ALegThatHasEndedSendsItsRest) {
  Pair client = tcp_pair(), backend = tcp_pair();
  const std::size_t sent = test::fill(client.ours);
  ASSERT_GT(sent, 0u);
  ::shutdown(client.ours.get(), SHUT_WR);
  Relay::Parts parts = parts_of(client, backend);
  parts.state.to_client.end = End::Closed;
  parts.state.to_backend.end = End::Ending;
  parts.state.to_backend.pending = {1, 2, 3};

  GetParam()(StoppedRelay(std::move(parts), kIdle));

  std::size_t received = 0;
  std::string part;
  while ((part = await(client.peer)).front() == 'x')
    received += part.size();
  EXPECT_EQ(part, "end");
  EXPECT_EQ(received, sent);
  EXPECT_EQ(await(backend.peer), "reset");
}

TEST_P(CutRelayTest, LegsThatAreNeededEndWithAReset) {
  Pair client = tcp_pair(), backend = tcp_pair();

  GetParam()(StoppedRelay(parts_of(client, backend), kIdle));

  EXPECT_EQ(await(client.peer), "reset");
  EXPECT_EQ(await(backend.peer), "reset");
}

INSTANTIATE_TEST_SUITE_P(Cuts, CutRelayTest, testing::Values(&destroy, &abort));

TEST(RelayRunner, LegsOfARelayThatCannotBeStartedEndWithAReset) {
  Pair client = tcp_pair(), backend = tcp_pair();
  backend.ours.reset();
  asio::io_context io;
  StoppedRelay relay(parts_of(client, backend), kIdle);

  EXPECT_THROW(std::make_shared<RelayRunner>(io.get_executor(), std::move(relay)), std::exception);

  EXPECT_EQ(await(client.peer), "reset");
}

}  // namespace
}  // namespace sockmi::proxy
