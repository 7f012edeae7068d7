// Record numbers are carried completely: at the carry of each of their bytes, and beyond
// 2^32.
#include "cases.h"
#include "pair.h"
#include "wire/envelope.h"
#include "wire/flatbuffer.h"
#include "wire/tls_generated.h"

namespace sockmi::tls::test {
namespace {

class RecordSequence : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Families, RecordSequence, testing::ValuesIn(kFamilies), kName);

// Returns the image as it would be after that many more records in each direction.
Secret moved_on(const Secret& image, std::uint64_t records) {
  auto body = wire::unseal(wire::kTlsKind, wire::kTlsVersion, image);
  std::unique_ptr<wire::TlsT> tls((*wire::read<wire::Tls>(*body))->UnPack());
  tls->read_sequence += records;
  tls->write_sequence += records;
  wire::WipingBuilder builder;
  builder.Finish(wire::Tls::Pack(builder, tls.get()));
  return wire::seal(wire::kTlsKind, wire::kTlsVersion, builder.take());
}

TEST_P(RecordSequence, NumbersMoveAtTheCarryOfEachByte) {
  Pair pair(GetParam(), true, /*peer_moves=*/true);
  pair.handshake();
  pair.talk("tickets are read");
  std::uint64_t records = 0;
  for (int byte = 1; byte < 8; ++byte) {
    auto ours = save(pair.mover.get()), theirs = save(pair.peer.get());
    ASSERT_TRUE(ours && theirs);
    retire(pair.mover.get());
    retire(pair.peer.get());
    const std::uint64_t carry = (std::uint64_t{1} << 8 * byte) - 8;
    pair.mover = pair.fresh();
    pair.peer = Pair::fresh_of(pair.peer_ctx, !GetParam().server);
    ASSERT_TRUE(
        load(moved_on(*ours, carry - records), pair.mover.get(), {GetParam().server, true}));
    ASSERT_TRUE(
        load(moved_on(*theirs, carry - records), pair.peer.get(), {!GetParam().server, true}));
    ASSERT_TRUE(set_fd(pair.mover.get(), pair.mover_fd.get()));
    ASSERT_TRUE(set_fd(pair.peer.get(), pair.peer_fd.get()));
    records = carry;
    for (int i = 0; i < 6; ++i)
      pair.talk("over the carry");
    pair.hop();
    for (int i = 0; i < 6; ++i)
      pair.talk("and beyond");
  }
}

}  // namespace
}  // namespace sockmi::tls::test
