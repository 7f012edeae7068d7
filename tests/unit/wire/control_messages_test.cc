#include <gtest/gtest.h>

#include "wire/control_messages.h"
#include "wire/envelope.h"
#include "wire/flatbuffer.h"

namespace sockmi::wire {
namespace {

Endpoint example() {
  Endpoint endpoint;
  endpoint.service = "web";
  endpoint.owner = {33, "www-data"};
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
  endpoint.home_control = *SocketAddress::parse("10.0.0.1:7078");
  return endpoint;
}

Secret packed(const Endpoint& endpoint) {
  const OutgoingImage one{{1, 2, 3}, &endpoint, 77};
  return pack_prepare({&one, 1}, *SocketAddress::parse("10.0.0.2:7078"));
}

TEST(Endpoint, SurvivesPackingAndReading) {
  const Secret bytes = packed(example());
  const auto message = read<Message>(bytes);
  ASSERT_TRUE(message);
  const auto* prepare = (*message)->request_as_Prepare();
  ASSERT_TRUE(prepare && prepare->endpoints()->size() == 1);
  EXPECT_EQ(read_id(view(prepare->endpoints()->Get(0)->id())), (MigrationId{1, 2, 3}));
  EXPECT_EQ(prepare->endpoints()->Get(0)->pre_copied(), 77u);
  const auto endpoint = read_endpoint(prepare->endpoints()->Get(0)->endpoint());
  ASSERT_TRUE(endpoint) << to_string(endpoint.error());
  EXPECT_EQ(endpoint->service, "web");
  EXPECT_EQ(endpoint->state, 0x40);
  EXPECT_EQ(endpoint->tls, (Secret{9, 8, 7}));
  EXPECT_EQ(endpoint->payload.size(), 1000u);
  EXPECT_EQ(endpoint->tcp.send_queue, (std::vector<std::uint8_t>{1, 2, 3}));
  EXPECT_EQ(endpoint->tcp.window->rcv_wup(), 5u);
  EXPECT_EQ(to_string(tuple_of(endpoint->tcp)), "10.0.0.1:443<-10.0.0.9:40000");
  EXPECT_EQ(to_string(endpoint->home_control), "10.0.0.1:7078");
}

TEST(Endpoint, TupleOfAListenerHasNoRemoteAddress) {
  Endpoint listener = example();
  listener.tcp.remote_ip = {0, 0, 0, 0};
  listener.tcp.remote_port = 0;
  const FourTuple expected{*SocketAddress::parse("10.0.0.1:443"), {}};
  EXPECT_EQ(tuple_of(listener.tcp), expected);
  listener.tcp.remote_ip = {};
  listener.tcp.remote_port = 1;
  EXPECT_EQ(to_string(tuple_of(listener.tcp).local), "10.0.0.1:443");
}

// Any damaged image is read or refused; the sanitizers watch.
TEST(Endpoint, AnyDamagedImageIsReadOrRefused) {
  const Secret good = packed(example());
  const auto try_it = [](const Secret& bytes) {
    const auto message = read<Message>(bytes);
    const auto* prepare = message ? (*message)->request_as_Prepare() : nullptr;
    if (prepare && prepare->endpoints())
      for (const auto* departing : *prepare->endpoints())
        (void)read_endpoint(departing->endpoint());
  };
  for (std::size_t size = 0; size < good.size(); ++size)
    try_it(Secret(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size)));
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
  const Secret bytes = packed(odd);
  EXPECT_EQ(
      read_endpoint((*read<Message>(bytes))->request_as_Prepare()->endpoints()->Get(0)->endpoint())
          .error()
          .code,
      EINVAL);
}

TEST(Commit, CarriesTheFreezeDelta) {
  std::vector<Committed> all(2);
  all[0].id = {1};
  all[1].id = {2};
  all[1].delta.bytes = {7, 8};
  all[1].delta.fin = true;
  all[1].delta.acked = 9;
  all[1].delta.window = 70'000;
  all[1].delta.all_acknowledged = true;
  all[1].delta.written = {5, 6};
  all[1].delta.finished = true;
  all[1].delta.read = 3;
  all[1].delta.sent = 1;
  all[1].delta.more = true;
  const Secret bytes = pack_commit(all);
  const auto read_back = read_commit(*(*read<Message>(bytes))->request_as_Commit());
  ASSERT_TRUE(read_back && read_back->size() == 2);
  EXPECT_EQ((*read_back)[0].id, all[0].id);
  EXPECT_TRUE((*read_back)[0].delta.bytes.empty() && !(*read_back)[0].delta.fin);
  EXPECT_EQ((*read_back)[1].delta.bytes, all[1].delta.bytes);
  EXPECT_TRUE((*read_back)[1].delta.fin);
  EXPECT_EQ((*read_back)[1].delta.acked, 9u);
  EXPECT_EQ((*read_back)[1].delta.window, 70'000u);
  EXPECT_EQ((*read_back)[1].delta.written, all[1].delta.written);
  EXPECT_TRUE((*read_back)[1].delta.finished);
  EXPECT_EQ((*read_back)[1].delta.read, 3u);
  EXPECT_EQ((*read_back)[1].delta.sent, 1u);
  EXPECT_TRUE((*read_back)[1].delta.more && !(*read_back)[0].delta.more);
  EXPECT_TRUE((*read_back)[1].delta.all_acknowledged && !(*read_back)[0].delta.all_acknowledged);
}

TEST(PreCopy, CarriesIdAndBytesOfAnEndpoint) {
  const Secret bytes = pack_pre_copy({1, 2, 3}, Bytes{7, 8});
  const auto message = read<wire::Message>(bytes);
  ASSERT_TRUE(message && (*message)->request_as_PreCopy());
  EXPECT_EQ(read_id(view((*message)->request_as_PreCopy()->id())), (MigrationId{1, 2, 3}));
  EXPECT_EQ(secret((*message)->request_as_PreCopy()->bytes()), (Secret{7, 8}));
}

TEST(Answer, HasAVerdictForEachEndpoint) {
  const Secret bytes =
      pack_answer(std::vector<Result<>>{{}, fail(ENOBUFS, "full")}, std::chrono::microseconds(7));
  const auto verdicts = read_verdicts(bytes, 2);
  ASSERT_TRUE(verdicts);
  EXPECT_TRUE((*verdicts)[0]);
  EXPECT_EQ((*verdicts)[1].error().code, ENOBUFS);
  EXPECT_EQ(read_verdicts(bytes, 3).error().code, EPROTO);
  EXPECT_EQ(read_took(bytes), std::chrono::microseconds(7));
}

TEST(Answer, CarriesReasonAndCodeOfAnError) {
  EXPECT_EQ(read_answer(pack_answer({}, 1)), 1);
  const auto refused = read_answer(pack_answer(fail(ENOBUFS, "import list full")));
  ASSERT_FALSE(refused);
  EXPECT_EQ(to_string(refused.error()), "import list full (ENOBUFS)");
}

TEST(Envelope, OpensOnlyUndamagedBytesOfItsKindAndVersion) {
  const Secret body(300, 'b');
  const Secret sealed = seal(kTlsKind, kTlsVersion, body);
  EXPECT_EQ(unseal(kTlsKind, kTlsVersion, sealed), body);
  EXPECT_EQ(unseal(kTlsKind, kTlsVersion + 1, sealed).error().code, ENOTSUP);
  EXPECT_FALSE(unseal(kTlsKind + 1, kTlsVersion, sealed));
  for (std::size_t size = 0; size < sealed.size(); ++size)
    EXPECT_EQ(unseal(kTlsKind, kTlsVersion, ByteView(sealed).first(size)).error().code, EBADMSG);
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
}  // namespace sockmi::wire
