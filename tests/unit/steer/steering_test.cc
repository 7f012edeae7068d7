// Connections move in a real kernel, on a network of namespaces. network.h has a diagram
// of it.
#include <thread>

#include "steering_fixture.h"
#include "tcp/inject.h"

namespace sockmi::steer {
namespace {

INSTANTIATE_TEST_SUITE_P(Everywhere, SteeringTest, everywhere(), name_of);

TEST_P(SteeringTest, AMovedConnectionWorksInBothDirections) {
  expect_flow(client, server, 100'000);
  ASSERT_NO_FATAL_FAILURE(move());
  expect_flow(client, server, 3'000'000);  // large segments
  // Over a narrow path: "too big" has to reach the importer.
  expect_flow(server, client, 3'000'000);
}

TEST_P(SteeringTest, AFrozenSocketReceivesAndSendsNothing) {
  // What the socket received while it was frozen is in its queue afterwards, although it
  // was not acknowledged to the peer.
  move([&](int frozen, const auto&) {
    const auto sent = ::send(client.get(), "while frozen", 12, 0);
    ASSERT_EQ(sent, 12);
    ASSERT_TRUE(ready(frozen, POLLIN)) << "it receives nothing";
    tcp_info info{};
    socklen_t size = sizeof info;
    ASSERT_EQ(::getsockopt(client.get(), SOL_TCP, TCP_INFO, &info, &size), 0);
    EXPECT_EQ(info.tcpi_unacked, 1u) << "it sent something";
  });
  char got[32];
  ASSERT_EQ(::recv(server.get(), got, sizeof got, 0), 12);
  EXPECT_EQ(std::string(got, 12), "while frozen");
  expect_flow(client, server, 1000);
}

TEST_P(SteeringTest, AnInjectedSegmentReachesAFrozenSocketOfAForeignAddress) {
  move([&](int frozen, const auto& image) {
    const std::string text = "injected";
    const tcp::Segment segment{
        .tuple = tuple,
        .seq = image.rcv_seq,
        .ack = image.snd_seq - std::uint32_t(image.send_queue.size()),
        .window = 100,
        .fin = false,
        .data = {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}};
    const auto injected = importer().in([&] { return tcp::inject(segment, kInjectMark); });
    ASSERT_TRUE(injected) << to_string(injected.error());
    EXPECT_TRUE(ready(frozen, POLLIN));
  });
  char got[32];
  EXPECT_EQ(::recv(server.get(), got, sizeof got, 0), 8);
}

class SteeringOnHomesLink : public SteeringTest {};

INSTANTIATE_TEST_SUITE_P(Near, SteeringOnHomesLink, on_homes_link(AF_INET, AF_INET6), name_of);

TEST_P(SteeringOnHomesLink, TheImporterDoesNotClaimHomesAddress) {
  ASSERT_NO_FATAL_FAILURE(move());
  // Home is disconnected, so that no other host can answer.
  network->router.run("ip link set to1 down");
  network->router.run(family() == AF_INET
                          ? "ip neigh flush dev segment; ! ping -c 1 -W 1 10.77.1.1"
                          : "ip neigh flush dev segment; ! ping -c 1 -W 1 fd77:1::1");
  EXPECT_EQ(network->router.run("ip neigh show dev segment").find("10.77.1.1 lladdr"),
            std::string::npos);
  EXPECT_EQ(network->router.run("ip neigh show dev segment").find("fd77:1::1 lladdr"),
            std::string::npos);
}

TEST_P(SteeringTest, RedirectPortMovesNewConnectionsAlone) {
  const auto redirected = network->home.in([&] {
    return network->home.steering->redirect_port(home, importer_address(), {&tuple, 1});
  });
  ASSERT_TRUE(redirected) << to_string(redirected.error());
  importer().in([&] {
    ASSERT_TRUE(importer().steering->add_foreign_addresses(
        std::array<ForeignAddress, 1>{{{{home, {}}, {}}}}));
    if (place().segment != 1) {
      ASSERT_TRUE(importer().steering->rewrite_port(home, importer_address()));
    }
  });
  const unique_fd moved = listen_at(importer(), home, true);
  const unique_fd newcomer = begin_connect(network->client, home);
  const unique_fd accepted = accept_from(moved);
  ASSERT_TRUE(connected(newcomer));
  ASSERT_TRUE(accepted);
  expect_flow(newcomer, accepted, 1'000'000);
  expect_flow(accepted, newcomer, 1'000'000);
  expect_flow(client, server, 1000);  // this connection stays

  ASSERT_TRUE(network->home.in([&] { return network->home.steering->remove_port_redirect(home); }));
  const unique_fd at_home = begin_connect(network->client, home);
  EXPECT_TRUE(accept_from(listener));
  EXPECT_EQ(network->home.run("nft list table netdev sockmi").find("elements = { 10.77.1.1"),
            std::string::npos);
}

TEST_P(SteeringTest, BlockPortDropsNewConnectionsUntilUnblocked) {
  ASSERT_TRUE(network->home.in(
      [&] { return network->home.steering->block_port(home, milliseconds(60'000)); }));
  const unique_fd newcomer = begin_connect(network->client, home);
  EXPECT_FALSE(connected(newcomer, 200));
  expect_flow(client, server, 1000);  // an older connection is not dropped
  ASSERT_TRUE(network->home.in([&] { return network->home.steering->unblock_port(home); }));
  EXPECT_TRUE(connected(newcomer));
}

TEST_P(SteeringTest, RewriteDestinationRefusesConnectionsThatOnlyTheirHomesTellApart) {
  importer().in([&] {
    Steering& steering = *importer().steering;
    FourTuple other = tuple;
    other.local.ip = Network::address(family(), 1, 77);
    ASSERT_TRUE(steering.rewrite_destination({&tuple, 1}, importer_address()));
    EXPECT_TRUE(steering.rewrite_destination({&tuple, 1}, importer_address())) << "the same again";
    EXPECT_EQ(steering.rewrite_destination({&other, 1}, importer_address()).error().code,
              EADDRINUSE);
    ASSERT_TRUE(steering.stop_rewriting({&tuple, 1}, importer_address(), milliseconds(0)));
    EXPECT_TRUE(steering.rewrite_destination({&other, 1}, importer_address()));
  });
}

TEST_P(SteeringTest, StopLeavesNothingInTheKernel) {
  ASSERT_NO_FATAL_FAILURE(move());
  for (Host* host : {&network->home, &importer()}) {
    host->steering->keep(false);
    host->stop();
    EXPECT_EQ(host->run("nft list ruleset"), "");
    EXPECT_EQ(host->run("ip rule; ip -6 rule").find("29547"), std::string::npos);
    EXPECT_EQ(host->run("ip route show table 29547 2>/dev/null; ip -6 route show table 29547 "
                        "2>/dev/null; true"),
              "");
  }
}

TEST_P(SteeringTest, TenThousandRedirectsAreOneCall) {
  std::vector<Redirect> all;
  for (int i = 0; i < 10'000; ++i) {
    Redirect each{tuple, importer_address(), milliseconds(60'000)};
    each.tuple.remote.port = std::uint16_t(20'000 + i);
    all.push_back(each);
  }
  network->home.in([&] {
    Steering& steering = *network->home.steering;
    const auto put = steering.redirect(all);
    ASSERT_TRUE(put) << to_string(put.error());
    EXPECT_EQ(steering.redirects()->size(), all.size());
    for (Redirect& each : all)
      each.expires_in.reset();
    ASSERT_TRUE(steering.redirect(all)) << "replaced";
    const auto now = steering.redirects();
    ASSERT_EQ(now->size(), all.size());
    EXPECT_FALSE(now->front().expires_in);
    std::vector<FourTuple> tuples;
    for (const Redirect& each : all)
      tuples.push_back(each.tuple);
    ASSERT_TRUE(steering.remove_redirects(tuples));
    EXPECT_EQ(steering.redirects()->size(), 0u);
  });
}

TEST_P(SteeringTest, AnExpiredRedirectCanBeAddedAgain) {
  network->home.in([&] {
    Steering& steering = *network->home.steering;
    for (int i = 0; i < 50; ++i) {  // also around the moment of its end
      ASSERT_TRUE(steering.redirect(tuple, importer_address(), milliseconds(10)));
      std::this_thread::sleep_for(milliseconds(5 + i % 10));
    }
    ASSERT_TRUE(steering.redirect(tuple, importer_address(), std::nullopt));
    EXPECT_EQ(steering.redirects()->size(), 1u);
  });
}

}  // namespace
}  // namespace sockmi::steer
