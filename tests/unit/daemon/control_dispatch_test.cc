// A message of another host is read as a whole, or refused.
#include "daemon/control_dispatch.h"

#include <gtest/gtest.h>

#include "wire/flatbuffer.h"
#include "wire/late_write.h"

namespace sockmi::daemon {
namespace {

// No message of these tests gets as far as these functions.
class Nobody : public Requests {
 public:
  Result<> expect(const AuthenticatedHost&) override { return called(); }
  std::vector<Result<>> passages(const AuthenticatedHost&,
                                 const std::vector<wire::Crossing>&) override {
    return {called()};
  }
  Result<> receive_pre_copy(const AuthenticatedHost&, const MigrationId&, ByteView) override {
    return called();
  }
  Result<> prepare(const AuthenticatedHost&, const MigrationId&, const SocketAddress&,
                   wire::Endpoint, std::uint32_t) override {
    return called();
  }
  std::vector<Result<>> commit(const AuthenticatedHost&,
                               const std::vector<wire::Committed>&) override {
    return {called()};
  }
  Result<> abort(const AuthenticatedHost&, const std::vector<MigrationId>&) override {
    return called();
  }
  Result<> rest(const AuthenticatedHost&, const MigrationId&, const wire::FreezeDeltaT&) override {
    return called();
  }
  Result<> straggler(const AuthenticatedHost&, const wire::StragglerT&) override {
    return called();
  }
  Result<> ended(const AuthenticatedHost&, const FourTuple&, std::uint64_t) override {
    return called();
  }
  Result<> take_over(const AuthenticatedHost&, const wire::TakeOver&) override { return called(); }
  Result<int> inquire(const AuthenticatedHost&, const MigrationId&) override { return calls++; }
  Result<int> moved(const AuthenticatedHost&, const FourTuple&, const IpAddress&,
                    const std::string&, const std::string&, std::uint64_t) override {
    return calls++;
  }
  Result<int> held(const AuthenticatedHost&, const FourTuple&, const std::string&,
                   const SocketAddress&, std::uint64_t, bool) override {
    return calls++;
  }
  int calls = 0;

 private:
  Result<> called() {
    ++calls;
    return {};
  }
};

int code_of(Requests& requests, ByteView message) {
  const Secret answer = dispatch(requests, {"B", *IpAddress::parse("192.0.2.2")}, message);
  const auto read = wire::read_answer(answer);
  return read ? 0 : read.error().code;
}

TEST(ControlDispatch, ARequestOfAnyTypeWithoutAValueIsRefused) {
  Nobody nobody;
  for (const auto type : wire::EnumValuesRequest()) {
    wire::WipingBuilder builder;
    builder.Finish(wire::CreateMessage(builder, type));
    EXPECT_EQ(code_of(nobody, builder.take()), EBADMSG) << wire::EnumNameRequest(type);
  }
  EXPECT_EQ(nobody.calls, 0);
}

TEST(ControlDispatch, MoreThanABatchIsRefused) {
  Nobody nobody;
  const std::vector<MigrationId> ids(wire::kMostEndpoints + 1);
  EXPECT_EQ(code_of(nobody, wire::pack_abort(ids)), EMSGSIZE);
  EXPECT_EQ(
      code_of(nobody, wire::pack_commit(std::vector<wire::Committed>(wire::kMostEndpoints + 1))),
      EMSGSIZE);
  EXPECT_EQ(code_of(nobody,
                    wire::pack_path_queries(std::vector<wire::Crossing>(wire::kMostEndpoints + 1))),
            EMSGSIZE);
  EXPECT_EQ(nobody.calls, 0);
}

TEST(ControlDispatch, AnEmptyLateWriteIsPassedOnForEachEndpoint) {
  Nobody nobody;
  EXPECT_EQ(code_of(nobody, wire::pack_late_write(std::vector<MigrationId>(5))), 0);
  EXPECT_EQ(nobody.calls, 5);
  EXPECT_EQ(
      code_of(nobody, wire::pack_late_write(std::vector<MigrationId>(wire::kMostEndpoints + 1))),
      EMSGSIZE);
  EXPECT_EQ(nobody.calls, 5);
}

TEST(ControlDispatch, TheReasonOfAnAnswerIsOneLineOfBoundedLength) {
  const auto read = wire::read_answer(
      wire::pack_answer(fail(EIO, "one\nlevel=error {}", std::string(5000, 'x'))));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().reason.find('\n'), std::string::npos);
  EXPECT_LE(read.error().reason.size(), 1024u);
}

}  // namespace
}  // namespace sockmi::daemon
