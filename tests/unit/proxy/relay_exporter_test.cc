#include "proxy/relay_exporter.h"

#include <future>

#include <gtest/gtest.h>

#include "unit/daemon_http.h"
#include "unit/daemon_socket.h"
#include "unit/proxy/socket_pairs.h"

namespace sockmi::proxy {
namespace {

namespace asio = boost::asio;
using test::Pair;
using test::tcp_pair;

asio::awaitable<void> serve_no_connection(Worker&, Accepted, Counted) {
  co_return;
}

// Throws once, when it is to be exported.
class StreamThatThrowsOnce : public PlainStream {
 public:
  using PlainStream::PlainStream;
  SSL* ssl() override {
    if (std::exchange(throws_, false)) throw std::bad_alloc();
    return nullptr;
  }

 private:
  bool throws_ = true;
};

TEST(RelayExporter, AnExceptionDuringAnExportKeepsTheRelay) {
  const test::DaemonSocket socket;
  Pair client = tcp_pair(), backend = tcp_pair();
  Relay::Parts parts;
  parts.state.listener = "in";
  parts.state.service = "app";
  parts.client = std::make_unique<StreamThatThrowsOnce>(std::move(client.ours));
  parts.backend = std::make_unique<PlainStream>(std::move(backend.ours));
  RelayExporter::Workers workers;
  workers.push_back(std::make_unique<Worker>(serve_no_connection, [] {}));
  workers[0]->start();
  std::promise<void> started;
  workers[0]->add([&](Worker& worker, Counted) {
    StoppedRelay relay(std::move(parts), std::chrono::hours(1),
                       [](const RelayRunner*, const RelayState&, std::string_view) {});
    worker.run(std::make_shared<RelayRunner>(worker.io().get_executor(), std::move(relay)));
    started.set_value();
  });
  started.get_future().wait();
  RelayExporter exporter(workers);

  ExportOrder order;
  order.request = 7;
  order.which.listener = "in";
  order.which.service = "app";
  order.target.service = "in/app";
  ASSERT_TRUE(exporter.add(std::move(order)));
  const unique_fd asked = socket.accept();
  const auto done = test::read_request(asked.get());
  ASSERT_TRUE(done);
  EXPECT_NE(done->line.find("/v1/requests/done?request=7&exported=0&failed=2"), std::string::npos)
      << done->line;
  ASSERT_TRUE(test::answer(asked.get(), 200, "{}"));

  ASSERT_EQ(::send(client.peer.get(), "more", 4, MSG_NOSIGNAL), 4);
  EXPECT_EQ(test::await(backend.peer), "more");
}

}  // namespace
}  // namespace sockmi::proxy
