// A message of another host is read as a whole, or refused.
#include "daemon/control_dispatch.h"

#include <gtest/gtest.h>

#include "stub_requests.h"
#include "wire/control_messages.h"
#include "wire/flatbuffer.h"

namespace sockmi::daemon {
namespace {

// No message of these tests gets as far as the handlers, unless it is counted.
class CountedRequests : public StubRequests {
 public:
  int calls = 0;

 private:
  Result<> called() override {
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
  CountedRequests requests;
  for (const auto type : wire::EnumValuesRequest()) {
    wire::WipingBuilder builder;
    builder.Finish(wire::CreateMessage(builder, type));
    EXPECT_EQ(code_of(requests, builder.take()), EBADMSG) << wire::EnumNameRequest(type);
  }
  EXPECT_EQ(requests.calls, 0);
}

TEST(ControlDispatch, MoreThanABatchIsRefused) {
  CountedRequests requests;
  const std::vector<MigrationId> ids(wire::kMostEndpoints + 1);
  EXPECT_EQ(code_of(requests, wire::pack_abort(ids)), EMSGSIZE);
  EXPECT_EQ(
      code_of(requests, wire::pack_commit(std::vector<wire::Committed>(wire::kMostEndpoints + 1))),
      EMSGSIZE);
  EXPECT_EQ(code_of(requests, wire::pack_path_queries(
                                  std::vector<wire::PathRequirements>(wire::kMostEndpoints + 1))),
            EMSGSIZE);
  EXPECT_EQ(requests.calls, 0);
}

TEST(ControlDispatch, AnEmptyLateWriteIsPassedOnForEachEndpoint) {
  CountedRequests requests;
  EXPECT_EQ(code_of(requests, wire::pack_late_write(std::vector<MigrationId>(5))), 0);
  EXPECT_EQ(requests.calls, 5);
  EXPECT_EQ(
      code_of(requests, wire::pack_late_write(std::vector<MigrationId>(wire::kMostEndpoints + 1))),
      EMSGSIZE);
  EXPECT_EQ(requests.calls, 5);
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
