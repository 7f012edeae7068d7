#include "proxy/export_relays.h"

#include <thread>

#include <gtest/gtest.h>

#include "base/token.h"
#include "unit/daemon_http.h"
#include "unit/daemon_socket.h"
#include "unit/proxy/socket_pairs.h"

namespace sockmi::proxy {
namespace {

using test::Pair;
using test::tcp_pair;

// Decides the move of two connections, ends both sockets like one that have moved, and
// dies before it has answered.
void move_and_die(const test::DaemonSocket& socket) {
  const unique_fd client = socket.accept();
  auto request = test::read_request(client.get());
  ASSERT_TRUE(request);
  ASSERT_EQ(request->descriptors.size(), 3u);
  auto token = Token::adopt(std::move(request->descriptors.back()));
  ASSERT_TRUE(token && token->take());
  const sockaddr none{};
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(::connect(request->descriptors[i].get(), &none, sizeof none), 0);
}

TEST(ExportRelays, ARelayThatHasMovedWhenItsDoubtEndsHasMoved) {
  const test::DaemonSocket socket;
  Pair client = tcp_pair(), backend = tcp_pair();
  Relay::Parts parts;
  parts.client = std::make_unique<PlainStream>(std::move(client.ours));
  parts.backend = std::make_unique<PlainStream>(std::move(backend.ours));
  std::vector<StoppedRelay> relays;
  relays.emplace_back(std::move(parts), std::chrono::hours(1));
  std::thread daemon([&] { move_and_die(socket); });

  const ExportResult result = export_relays(relays, {"in/app", AF_UNSPEC, {}});
  daemon.join();

  EXPECT_EQ(result.fates, std::vector{Fate::Moved});
  EXPECT_TRUE(result.errors.empty());
}

}  // namespace
}  // namespace sockmi::proxy
