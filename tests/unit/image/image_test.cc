#include <gtest/gtest.h>

#include "image/endpoint.h"
#include "image/pack.h"
#include "image/seal.h"

namespace sockmi::image {
namespace {

Endpoint example() {
  Endpoint endpoint;
  endpoint.service = "web";
  endpoint.owner = "www-data";
  endpoint.state = 0x40;
  endpoint.tcp.local_ip = {10, 0, 0, 1};
  endpoint.tcp.remote_ip = {10, 0, 0, 9};
  endpoint.tcp.local_port = 443;
  endpoint.tcp.remote_port = 40000;
  endpoint.tcp.send_queue = {1, 2, 3};
  endpoint.tcp.window = std::make_unique<Window>(1, 2, 3, 4, 5);
  endpoint.tls = {9, 8, 7};
  endpoint.payload = Secret(1000, 'p');
  endpoint.home = "hostA";
  endpoint.home_line = *SocketAddress::parse("10.0.0.1:7078");
  return endpoint;
}

TEST(Endpoint, ComesOutAsItWentIn) {
  const Secret bytes = pack_prepare({1, 2, 3}, example(), *SocketAddress::parse("10.0.0.2:7078"));
  const auto message = read<Message>(bytes);
  ASSERT_TRUE(message);
  const auto* prepare = (*message)->request_as_Prepare();
  ASSERT_TRUE(prepare);
  EXPECT_EQ(read_id(view(prepare->id())), (MigrationId{1, 2, 3}));
  const auto endpoint = read_endpoint(prepare->endpoint());
  ASSERT_TRUE(endpoint) << to_string(endpoint.error());
  EXPECT_EQ(endpoint->service, "web");
  EXPECT_EQ(endpoint->state, 0x40);
  EXPECT_EQ(endpoint->tls, (Secret{9, 8, 7}));
  EXPECT_EQ(endpoint->payload.size(), 1000u);
  EXPECT_EQ(endpoint->tcp.send_queue, (std::vector<std::uint8_t>{1, 2, 3}));
  EXPECT_EQ(endpoint->tcp.window->rcv_wup(), 5u);
  EXPECT_EQ(to_string(tuple_of(endpoint->tcp)), "10.0.0.1:443<-10.0.0.9:40000");
  EXPECT_EQ(to_string(endpoint->home_line), "10.0.0.1:7078");
}

// Whatever comes is read or refused; the sanitizers watch.
TEST(Endpoint, DamageIsReadOrRefusedCleanly) {
  const Secret good = pack_prepare({1, 2, 3}, example(), *SocketAddress::parse("10.0.0.2:7078"));
  const auto try_it = [](const Secret& bytes) {
    if (const auto message = read<Message>(bytes))
      if (const auto* prepare = (*message)->request_as_Prepare()) (void)read_endpoint(prepare->endpoint());
  };
  for (std::size_t size = 0; size < good.size(); ++size) try_it(Secret(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)));
  for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
    Secret bytes = good;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    try_it(bytes);
  }
}

TEST(Endpoint, MissingPartsAreRefused) {
  EXPECT_FALSE(read_endpoint(nullptr));
  Endpoint odd = example();
  odd.tcp.remote_ip = {10, 0, 0};
  const Secret bytes = pack_prepare({}, odd, odd.home_line);
  EXPECT_EQ(read_endpoint((*read<Message>(bytes))->request_as_Prepare()->endpoint()).error().code, EINVAL);
}

TEST(Answer, CarriesTheErrorOver) {
  EXPECT_EQ(read_answer(pack_answer({}, 1)), 1);
  const auto refused = read_answer(pack_answer(fail(ENOBUFS, "import list full")));
  ASSERT_FALSE(refused);
  EXPECT_EQ(to_string(refused.error()), "import list full (ENOBUFS)");
}

TEST(Seal, OpensOnlyWhatItClosed) {
  const Secret body(300, 'b');
  const Secret sealed = seal(kTlsKind, kTlsVersion, body);
  EXPECT_EQ(unseal(kTlsKind, kTlsVersion, sealed), body);
  EXPECT_EQ(unseal(kTlsKind, kTlsVersion + 1, sealed).error().code, ENOTSUP);
  EXPECT_FALSE(unseal(kTlsKind + 1, kTlsVersion, sealed));
  for (std::size_t size = 0; size < sealed.size(); ++size) EXPECT_EQ(unseal(kTlsKind, kTlsVersion, ByteView(sealed).first(size)).error().code, EBADMSG);
  Secret longer = sealed;
  longer.push_back(0);
  EXPECT_EQ(unseal(kTlsKind, kTlsVersion, longer).error().code, EBADMSG);
  for (std::size_t bit = 0; bit < 8 * sealed.size(); ++bit) {
    Secret bytes = sealed;
    bytes[bit / 8] ^= static_cast<std::uint8_t>(1u << bit % 8);
    EXPECT_FALSE(unseal(kTlsKind, kTlsVersion, bytes)) << bit;
  }
}

}  // namespace
}  // namespace sockmi::image
