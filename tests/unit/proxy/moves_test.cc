#include "proxy/moves.h"

#include <gtest/gtest.h>

#include "base/token.h"
#include "unit/daemon_http.h"
#include "unit/daemon_socket.h"
#include "unit/proxy/socket_pairs.h"
#include "wire/control_generated.h"
#include "wire/flatbuffer.h"

namespace sockmi::proxy {
namespace {

using test::Pair;
using test::tcp_pair;

// The test acts as the daemon of a proxy with one service.
class MovesTest : public testing::Test {
 protected:
  MovesTest() {
    const auto config = parse_config(
        "[listener.in]\nlisten = ['127.0.0.1:1']\nservice = 'app'\n"
        "[service.app.backend.one]\naddress = '127.0.0.1:2'\n",
        "f");
    plan_ = *make_plan(*config, {}, [] {});
  }

  // Answers the registration, and says that something can be imported.
  void announce_import() {
    events_ = socket_.accept();
    ASSERT_TRUE(test::read_request(events_.get()));
    const timeval most{.tv_sec = 10, .tv_usec = 0};
    ::setsockopt(events_.get(), SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    const std::string_view text = "HTTP/1.1 200 x\r\n\r\nevent: import\ndata: {}\n\n";
    ASSERT_EQ(::send(events_.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  unique_fd accept_import() {
    unique_fd client = socket_.accept();
    const auto request = test::read_request(client.get());
    EXPECT_TRUE(request && request->line.find("/v1/imports ") != std::string::npos);
    return client;
  }
  bool is_asked_again() const {
    pollfd ready{socket_.listener(), POLLIN, 0};
    return ::poll(&ready, 1, 0) != 0;
  }
  // Delivers the client's connection of a relay whose backend has done all.
  static void deliver(int client, unique_fd connection) {
    RelayState state;
    state.listener = "in";
    state.service = "app";
    state.backend = "one";
    state.to_backend.end = End::Closed;
    state.to_client.end = End::Ending;
    const Secret encoded = encode(state);
    const Bytes id(16, 'a'), payload(encoded.begin(), encoded.end()), no_tls;
    const std::uint8_t connected = SOCKMI_CONNECTED;
    wire::WipingBuilder builder;
    const std::vector delivered{
        wire::CreateDeliveredDirect(builder, 0, &id, connected, &no_tls, &payload, 0)};
    builder.Finish(wire::CreateImportResponseDirect(builder, &delivered));
    const Secret body = builder.take();
    const auto token = Token::make();
    std::vector<unique_fd> descriptors;
    descriptors.push_back(std::move(connection));
    descriptors.emplace_back(::dup(token->fd()));
    ASSERT_TRUE(test::answer(client, 200, {body.begin(), body.end()}, descriptors));
    ASSERT_TRUE(test::read_request(client));
    ASSERT_TRUE(test::answer(client, 200, "{}"));
  }

  const test::DaemonSocket socket_;
  const RelayExporter::Workers workers_;
  Plan plan_;
  unique_fd events_;
};

TEST_F(MovesTest, AServiceThatIsNotWantedAnyMoreIsNotImported) {
  Moves moves(workers_, [](const RelayService&, Relay::Parts) {});
  moves.use(relay_services(plan_));
  announce_import();
  const unique_fd import = accept_import();

  moves.use({});
  // Others may come after this error, so that it would be tried again.
  ASSERT_TRUE(test::answer(import.get(), 500, R"({"errno": 5, "error": "broken"})"));

  char byte;
  EXPECT_EQ(::recv(events_.get(), &byte, 1, 0), 0) << "it is still registered";
  EXPECT_FALSE(is_asked_again());
}

TEST_F(MovesTest, AnExceptionWhileARelayIsAdoptedEndsThatRelayAlone) {
  int adopted = 0;
  Moves moves(workers_, [&](const RelayService&, Relay::Parts) {
    if (++adopted == 1) throw std::bad_alloc();
  });
  moves.use(relay_services(plan_));
  announce_import();
  for (int i = 1; i <= 2; ++i) {
    Pair connection = tcp_pair();
    const unique_fd import = accept_import();
    deliver(import.get(), std::move(connection.ours));
    EXPECT_EQ(test::await(connection.peer), "reset") << i;
  }

  const unique_fd import = accept_import();
  EXPECT_EQ(adopted, 2);
  ASSERT_TRUE(test::answer(import.get(), 400, R"({"errno": 6, "error": "no more"})"));
}

}  // namespace
}  // namespace sockmi::proxy
