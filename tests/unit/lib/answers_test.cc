// sockmi_exports_done() answers many orders of a daemon together, and one after the other
// if the daemon does not know such answers. The test acts as the daemon.
#include <sys/socket.h>

#include <cerrno>
#include <future>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sockmi/sockmi.h>

#include "base/unique_fd.h"
#include "unit/daemon_socket.h"

namespace {

using sockmi::unique_fd;

std::string reply(int status, const std::string& body) {
  return fmt::format(
      "HTTP/1.1 {} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}", status,
      body.size(), body);
}

const std::string kUnknown = R"({"error": "unknown", "errno": 2, "name": "ENOENT"})";

class Answers : public testing::Test {
 protected:
  // Gives these replies, to one request each. Returns the requests.
  std::future<std::vector<std::string>> serve(std::vector<std::string> replies) {
    return std::async(std::launch::async, [this, replies = std::move(replies)] {
      std::vector<std::string> requests;
      for (const std::string& each : replies) {
        const unique_fd client = socket_.accept();
        requests.push_back(request_of(client));
        EXPECT_EQ(::send(client.get(), each.data(), each.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(each.size()));
      }
      return requests;
    });
  }
  // Reads until the head, and a body in JSON if there is one, are complete.
  static std::string request_of(const unique_fd& client) {
    std::string text;
    char bytes[65536];
    while (text.find("\r\n\r\n") == text.npos ||
           (text.find("ontent-") != text.npos && text.find("ontent-Length: 0") == text.npos &&
            !text.ends_with("}"))) {
      const ssize_t got = ::recv(client.get(), bytes, sizeof bytes, 0);
      if (got <= 0) break;
      text.append(bytes, static_cast<std::size_t>(got));
    }
    return text;
  }
  static std::vector<sockmi_export_answer> some(unsigned count) {
    std::vector<sockmi_export_answer> out(count);
    for (unsigned i = 0; i < count; ++i)
      out[i] = {.request = i + 1, .exported = 1, .failed = 0, .error = -1, .reserved = {}};
    return out;
  }

  const sockmi::test::DaemonSocket socket_;
};

TEST_F(Answers, ManyGoInOneRequest) {
  auto daemon = serve({reply(200, R"({"errors": [0, 2, 0]})")});
  auto answers = some(3);

  EXPECT_EQ(sockmi_exports_done(answers.data(), 3), 2) << sockmi_last_error();

  EXPECT_EQ(answers[0].error, 0);
  EXPECT_EQ(answers[1].error, ENOENT);
  EXPECT_EQ(answers[2].error, 0);
  EXPECT_NE(daemon.get()[0].find(R"({"answers":[[1,1,0],[2,1,0],[3,1,0]]})"), std::string::npos);
}

TEST_F(Answers, MoreThanARequestCanCarryAreDivided) {
  std::string zeros = "0";
  for (int i = 1; i < 256; ++i)
    zeros += ",0";
  auto daemon =
      serve({reply(200, R"({"errors": [)" + zeros + "]}"), reply(200, R"({"errors": [0]})")});
  auto answers = some(257);

  EXPECT_EQ(sockmi_exports_done(answers.data(), 257), 257) << sockmi_last_error();

  EXPECT_EQ(daemon.get().size(), 2u);
}

TEST_F(Answers, AnOlderDaemonGetsOneAfterTheOther) {
  auto daemon = serve({reply(404, kUnknown), reply(200, "{}"), reply(404, kUnknown)});
  auto answers = some(2);

  EXPECT_EQ(sockmi_exports_done(answers.data(), 2), 1) << sockmi_last_error();

  EXPECT_EQ(answers[0].error, 0);
  EXPECT_EQ(answers[1].error, ENOENT);
  EXPECT_NE(daemon.get()[1].find("/v1/requests/done?request=1&exported=1&failed=0"),
            std::string::npos);
}

TEST_F(Answers, AMalformedReplyIsAnErrorOfEach) {
  for (const char* body : {"", "[]", "{}", R"({"errors": [0]})", R"({"errors": [0, "0"]})",
                           R"({"errors": {"0": 0, "1": 0}})"}) {
    auto daemon = serve({reply(200, body)});
    auto answers = some(2);

    EXPECT_EQ(sockmi_exports_done(answers.data(), 2), -1) << body;

    EXPECT_EQ(errno, EBADMSG);
    EXPECT_EQ(answers[1].error, EBADMSG);
    daemon.get();
  }
}

TEST_F(Answers, AReservedFieldMustBeZero) {
  auto answers = some(1);
  answers[0].reserved[1] = 1;

  EXPECT_EQ(sockmi_exports_done(answers.data(), 1), -1);

  EXPECT_EQ(errno, EINVAL);
}

TEST_F(Answers, NoAnswersAreNoRequest) {
  EXPECT_EQ(sockmi_exports_done(nullptr, 0), 0);
}

}  // namespace
