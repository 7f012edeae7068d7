// What other hosts send is read as a whole, or refused.
#include "broker/dispatch.h"

#include <gtest/gtest.h>

#include "image/pack.h"
#include "image/rest.h"

namespace sockmi::broker {
namespace {

// Nothing gets as far as this.
class Nobody : public Requests {
 public:
  Result<> expect(const Speaker&) override { return called(); }
  std::vector<Result<>> passages(const Speaker&, const std::vector<image::Crossing>&) override { return {called()}; }
  Result<> take_ahead(const Speaker&, const MigrationId&, ByteView) override { return called(); }
  Result<> prepare(const Speaker&, const MigrationId&, const SocketAddress&, image::Endpoint, std::uint32_t) override { return called(); }
  std::vector<Result<>> commit(const Speaker&, const std::vector<image::Committed>&) override { return {called()}; }
  Result<> abort(const Speaker&, const std::vector<MigrationId>&) override { return called(); }
  Result<> rest(const Speaker&, const MigrationId&, const image::LateT&) override { return called(); }
  Result<> straggler(const Speaker&, const image::StragglerT&) override { return called(); }
  Result<> ended(const Speaker&, const FourTuple&, std::uint64_t) override { return called(); }
  Result<> take_over(const Speaker&, const image::TakeOver&) override { return called(); }
  Result<int> inquire(const Speaker&, const MigrationId&) override { return calls++; }
  Result<int> moved(const Speaker&, const FourTuple&, const IpAddress&, const std::string&, const std::string&, std::uint64_t) override { return calls++; }
  Result<int> held(const Speaker&, const FourTuple&, const std::string&, const SocketAddress&, std::uint64_t, bool) override { return calls++; }
  int calls = 0;

 private:
  Result<> called() {
    ++calls;
    return {};
  }
};

int code_of(Requests& requests, ByteView message) {
  const Secret answer = dispatch(requests, {"B", *IpAddress::parse("192.0.2.2")}, message);
  const auto read = image::read_answer(answer);
  return read ? 0 : read.error().code;
}

TEST(Dispatch, ARequestOfAnyTypeWithoutAValueIsRefused) {
  Nobody nobody;
  for (const auto type : image::EnumValuesRequest()) {
    image::WipingBuilder builder;
    builder.Finish(image::CreateMessage(builder, type));
    EXPECT_EQ(code_of(nobody, builder.take()), EBADMSG) << image::EnumNameRequest(type);
  }
  EXPECT_EQ(nobody.calls, 0);
}

TEST(Dispatch, MoreThanABatchIsRefused) {
  Nobody nobody;
  const std::vector<MigrationId> ids(image::kMostEndpoints + 1);
  EXPECT_EQ(code_of(nobody, image::pack_abort(ids)), EMSGSIZE);
  EXPECT_EQ(code_of(nobody, image::pack_commit(std::vector<image::Committed>(image::kMostEndpoints + 1))), EMSGSIZE);
  EXPECT_EQ(code_of(nobody, image::pack_passages(std::vector<image::Crossing>(image::kMostEndpoints + 1))), EMSGSIZE);
  EXPECT_EQ(nobody.calls, 0);
}

TEST(Dispatch, TheWordThatNothingWasDoneIsOfEachThatItNames) {
  Nobody nobody;
  EXPECT_EQ(code_of(nobody, image::pack_rest(std::vector<MigrationId>(5))), 0);
  EXPECT_EQ(nobody.calls, 5);
  EXPECT_EQ(code_of(nobody, image::pack_rest(std::vector<MigrationId>(image::kMostEndpoints + 1))), EMSGSIZE);
  EXPECT_EQ(nobody.calls, 5);
}

TEST(Dispatch, AReasonIsOneLineOfABoundedLength) {
  const auto read = image::read_answer(image::pack_answer(fail(EIO, "one\nlevel=error {}", std::string(5000, 'x'))));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().reason.find('\n'), std::string::npos);
  EXPECT_LE(read.error().reason.size(), 1024u);
}

}  // namespace
}  // namespace sockmi::broker
