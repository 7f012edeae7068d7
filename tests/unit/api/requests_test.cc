// Tests how a daemon answers HTTP requests, whole and by every user: a real daemon in a
// network without other hosts.
#include <sys/socket.h>

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/unique_fd.h"
#include "served_daemon.h"

namespace sockmi::api {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

constexpr std::size_t kLargestJson = 64u << 10, kLargestExport = (1u << 20) + (256u << 10),
                      kLargestHead = 8192;

class Requests : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (is_sandboxed) daemon_ = std::make_unique<ServedDaemon>();
  }
  static void TearDownTestSuite() { daemon_.reset(); }
  void SetUp() override {
    if (!is_sandboxed) GTEST_SKIP() << "no namespaces to be had here";
  }

  static Answer send(const std::string& bytes, uid_t as = 0,
                     std::span<const int> descriptors = {}) {
    return talk(daemon_->socket(), bytes, as, descriptors);
  }
  static Answer get(const std::string& target, uid_t as = 0) {
    return send(request("GET", target), as);
  }
  static Answer post(const std::string& target, const std::string& body, uid_t as = 0) {
    return send(request("POST", target, body), as);
  }
  static void expect_refused(const Answer& answer, int status, const std::string& what = "") {
    EXPECT_EQ(answer.status, status) << what << ": " << answer.body.substr(0, 200);
    EXPECT_TRUE(answer.json().value("error", json()).is_string()) << what;
  }

  inline static std::unique_ptr<ServedDaemon> daemon_;
};

// The paths with a JSON body, and one that is right as far as it is read before it is
// carried out.
const std::map<std::string, std::map<std::string, json>> kJsonPaths = {
    {"/v1/requests",
     {{"service", "web"}, {"to", "192.0.2.2"}, {"local", "192.0.2.1"}, {"peer", "192.0.2.9:1"}}},
    {"/v1/takeovers", {{"address", "192.0.2.50"}, {"to", "B"}, {"force", true}}},
    {"/v1/hosts/forget", {{"host", "A"}}},
    {"/v1/drain", {{"rate", 1}, {"deadline_s", 60}, {"dry_run", true}}},
    {"/v1/doubt", {{"id", "7"}, {"decide", "commit"}}},
    {"/v1/testing/faults", {{"name", "nothing"}, {"count", 1}}},
};
const char* const kGetPaths[] = {"/v1/doubt",     "/v1/health",      "/v1/drain/connections",
                                 "/v1/status",    "/v1/connections", "/v1/hosts",
                                 "/v1/migrations"};
const char* const kFlatPaths[] = {"/v1/exports", "/v1/imports"};

TEST_F(Requests, AnUnknownPathIsRefused) {
  for (const char* path : {"/", "/v1", "/v1/", "/v1/statuses", "/v1/status/", "/V1/status",
                           "//v1/status", "/v1/./status", "/v1/%73tatus", "*", "/v1/status%00"})
    for (const char* method : {"GET", "POST"})
      expect_refused(send(request(method, path)), 404, path);
}

TEST_F(Requests, AMethodThatAPathLacksIsRefused) {
  for (const char* path : kGetPaths)
    for (const char* method : {"PUT", "DELETE", "PATCH", "OPTIONS"})
      expect_refused(send(request(method, path)), 405, path);
  for (const auto& [path, body] : kJsonPaths)
    for (const char* method : {"PUT", "DELETE", "PATCH", "OPTIONS"})
      expect_refused(send(request(method, path)), 405, path);
}

TEST_F(Requests, GarbageIsRefused) {
  for (const std::string& garbage :
       {std::string("\x16\x03\x01 hello\r\n\r\n"), std::string("GET\r\n\r\n"),
        std::string("GET /v1/status\r\n\r\n"), std::string("GET /v1/status HTTP/9.9\r\n\r\n"),
        std::string("GET /v1/\0status HTTP/1.1\r\n\r\n", 29),
        std::string("GET /v1/status HTTP/1.1\r\nno field\r\n\r\n"),
        std::string("GET /v1/status HTTP/1.1\r\nContent-Length: -1\r\n\r\n"),
        std::string("GET /v1/status HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n")})
    expect_refused(send(garbage), 400, garbage);
}

TEST_F(Requests, AHeadThatIsTooLargeIsRefused) {
  expect_refused(
      send(request("GET", "/v1/status", "", "X: " + std::string(kLargestHead, 'x') + "\r\n")), 431);
  expect_refused(get("/v1/status?" + std::string(kLargestHead, 'x')), 431);
}

TEST_F(Requests, ABodyOfTheLargestSizeIsRead) {
  for (const auto& [path, body] : kJsonPaths)
    expect_refused(post(path, std::string(kLargestJson, 'x')), 400, path);
}

TEST_F(Requests, ABodyThatIsTooLargeIsRefused) {
  for (const auto& [path, body] : kJsonPaths)
    expect_refused(post(path, std::string(kLargestJson + 1, 'x')), 413, path);
  for (const char* path : kGetPaths)
    expect_refused(send(request("GET", path, std::string(kLargestJson + 1, 'x'))), 413, path);
}

TEST_F(Requests, AnExportMayHaveALargerBody) {
  expect_refused(post("/v1/exports", std::string(kLargestExport, 'x')), 400);
  expect_refused(post("/v1/exports", std::string(kLargestExport + 1, 'x')), 413);
}

TEST_F(Requests, AnAnnouncedBodyThatIsTooLargeIsRefusedBeforeItArrives) {
  expect_refused(send("POST /v1/doubt HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n"), 413);
}

TEST_F(Requests, AChunkedBodyThatIsTooLargeIsRefused) {
  const std::string chunk = "8000\r\n" + std::string(0x8000, 'x') + "\r\n";

  expect_refused(send("POST /v1/doubt HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk +
                      chunk + chunk + "0\r\n\r\n"),
                 413);
}

TEST_F(Requests, OnlyAnExportMayHaveDescriptors) {
  const int descriptors[] = {0};

  expect_refused(send(request("GET", "/v1/status"), 0, descriptors), 400);
  expect_refused(send(request("POST", "/v1/imports"), 0, descriptors), 400);
}

TEST_F(Requests, MoreDescriptorsThanAnExportMayHaveAreRefused) {
  const std::vector<int> descriptors(66, 0);

  const Answer answer = send(request("POST", "/v1/exports"), 0, descriptors);

  expect_refused(answer, 400);
  EXPECT_THAT(answer.body, HasSubstr("more than 65 descriptors"));
}

TEST_F(Requests, ABodyThatIsNoJsonObjectIsRefused) {
  for (const auto& [path, body] : kJsonPaths)
    for (const std::string& wrong :
         {std::string(), std::string("null"), std::string("7"), std::string("[]"), std::string("{"),
          std::string("\xff"), std::string("{\"host\": \"\xff\"}"), std::string(60'000, '[')})
      expect_refused(post(path, wrong), 400, path + " " + wrong.substr(0, 20));
}

TEST_F(Requests, AValueOfAnotherTypeIsRefused) {
  for (const auto& [path, right] : kJsonPaths)
    for (const auto& [key, value] : right)
      for (const json& wrong : {json(-1), json(0.5), json::array({"x"}), json::object()}) {
        json body(right);
        body[key] = wrong;
        const Answer answer = post(path, body.dump());
        expect_refused(answer, 400, path + " " + body.dump());
        EXPECT_THAT(answer.body, HasSubstr(fmt::format("'{}' is not a", key)));
      }
}

TEST_F(Requests, ARequiredValueThatIsMissingIsRefused) {
  const std::map<std::string, std::vector<std::string>> required = {
      {"/v1/takeovers", {"address", "to"}},
      {"/v1/hosts/forget", {"host"}},
      {"/v1/doubt", {"id", "decide"}},
      {"/v1/testing/faults", {"name"}}};
  for (const auto& [path, keys] : required)
    for (const std::string& key : keys) {
      json body(kJsonPaths.at(path));
      body.erase(key);
      const Answer answer = post(path, body.dump());
      expect_refused(answer, 400, path);
      EXPECT_THAT(answer.body, HasSubstr("'" + key + "' is missing"));
    }
}

TEST_F(Requests, ABodyThatIsNoFlatBufferIsRefused) {
  for (const char* path : kFlatPaths)
    for (const std::string& body :
         {std::string(), std::string("{}"), std::string(1000, '\xff'), std::string(1000, '\0')})
      expect_refused(post(path, body), 400, path);
}

TEST_F(Requests, AnImportThatNothingWasDeliveredToIsRefused) {
  expect_refused(post("/v1/imports/taken", ""), 400);
}

TEST_F(Requests, AWrongNumberInAQueryIsRefused) {
  for (const char* path : {"/v1/connections", "/v1/migrations"})
    for (const char* key : {"offset", "limit"})
      for (const char* number : {"x", "-1", "1.5", "+1", "%201", "18446744073709551616", "1%00"})
        expect_refused(get(fmt::format("{}?{}={}", path, key, number)), 400, number);
}

TEST_F(Requests, AnswersOfApplicationsAreNumbers) {
  for (const char* query : {"request=x", "request=1&exported=-1", "request=1&failed=4294967296"})
    expect_refused(post(std::string("/v1/requests/done?") + query, ""), 400, query);
}

TEST_F(Requests, AnAnswerToARequestThatNobodyMadeIsRefused) {
  expect_refused(post("/v1/requests/done?request=7&exported=1&failed=0", ""), 404);
}

TEST_F(Requests, EachOfManyAnswersHasItsError) {
  const json answer = post("/v1/requests/done", R"({"answers": [[7, 1, 0], [8, 0, 1]]})").json();
  EXPECT_EQ(answer, (json{{"errors", {ENOENT, ENOENT}}}));
}

TEST_F(Requests, AnswersThatAreNotThreeNumbersAreRefused) {
  for (const char* body :
       {"[]", R"({"answers": 1})", R"({"answers": [1, 1, 0]})", R"({"answers": [[1, 0]]})",
        R"({"answers": [[1, 0, 0, 0]]})", R"({"answers": [[1, 0, "0"]]})",
        R"({"answers": [[1, 0, -1]]})", R"({"answers": [[1, 0, 0.5]]})", R"({"answers": [null]})",
        R"({"answers": [[1, 0, 4294967296]]})"})
    expect_refused(post("/v1/requests/done", body), 400, body);
}

TEST_F(Requests, AnErrorHasItsReasonAndCode) {
  const json answer = post("/v1/doubt", R"({"id": "7", "decide": "commit"})").json();

  EXPECT_EQ(answer["errno"], ENOENT);
  EXPECT_EQ(answer["name"], "ENOENT");
  EXPECT_TRUE(answer["error"].is_string());
}

TEST_F(Requests, AnErrorThatQuotesOtherBytesIsJson) {
  const Answer answer = send("GET /v1/\xff\"\\ HTTP/1.1\r\nConnection: close\r\n\r\n");

  expect_refused(answer, 404);
}

TEST_F(Requests, OnlyRootMayGiveOrders) {
  for (const auto& [path, body] : kJsonPaths)
    if (path != "/v1/requests") expect_refused(post(path, json(body).dump(), kSomeUser), 403, path);
  for (const char* path : {"/v1/doubt", "/v1/drain/connections"})
    expect_refused(get(path, kSomeUser), 403, path);
  for (const char* path : {"/v1/drain/stop", "/v1/undrain"})
    expect_refused(post(path, "", kSomeUser), 403, path);
}

TEST_F(Requests, AWrongOrderToDrainChangesNothing) {
  const std::pair<const char*, int> wrong[] = {
      {R"({"services": "web"})", 400},       {R"({"services": [7]})", 400},
      {R"({"to": {"B": 1}})", 400},          {R"({"rate": -1})", 400},
      {R"({"services": ["unknown"]})", 404}, {R"({"to": ["nobody"]})", 503}};
  for (const auto& [body, status] : wrong)
    expect_refused(post("/v1/drain", body), status, body);

  EXPECT_EQ(get("/v1/health").status, 200);
  expect_refused(post("/v1/drain/stop", ""), 404);
}

TEST_F(Requests, AHostWithoutConnectionsIsDrainedUntilItIsUndrained) {
  EXPECT_EQ(post("/v1/drain", R"({"services": ["web"], "rate": 7})").json()["attached"], false);

  EXPECT_EQ(get("/v1/health").status, 503);
  EXPECT_EQ(get("/v1/health").json()["status"], "cordoned");
  EXPECT_EQ(get("/v1/status").json()["cordoned"], true);
  const json status = get("/v1/drain", kSomeUser).json();
  EXPECT_EQ(status["rate"], 7);
  EXPECT_EQ(status["services"], json::array({"web"}));
  EXPECT_FALSE(status.contains("left"));
  EXPECT_EQ(post("/v1/undrain", "").status, 200);
  EXPECT_EQ(get("/v1/health").status, 200);
  EXPECT_EQ(get("/v1/drain").json()["state"], "none");
}

TEST_F(Requests, EverybodyMayReadTheRest) {
  for (const char* path :
       {"/v1/status", "/v1/connections", "/v1/hosts", "/v1/migrations", "/v1/health", "/v1/drain"})
    EXPECT_EQ(get(path, kSomeUser).status, 200) << path;
}

TEST_F(Requests, AnUnknownServiceIsRefused) {
  expect_refused(post("/v1/requests", R"({"service": "unknown"})"), 404);
  expect_refused(get("/v1/events?service=unknown"), 404);
}

TEST_F(Requests, ARequestToExportWithoutApplicationsIsRefused) {
  expect_refused(post("/v1/requests", R"({"service": "web", "local": null})"), 503);
}

TEST_F(Requests, OurOwnHostIsNotForgotten) {
  EXPECT_THAT(post("/v1/hosts/forget", R"({"host": "A"})").body, HasSubstr("it is this one"));
}

TEST_F(Requests, AFaultIsArmed) {
  EXPECT_EQ(post("/v1/testing/faults", R"({"name": "nothing", "count": 0})").status, 200);
}

TEST_F(Requests, EmptyListsAreAnswered) {
  EXPECT_EQ(get("/v1/connections").json(), (json{{"connections", json::array()}, {"total", 0}}));
  EXPECT_EQ(get("/v1/migrations").json(), (json{{"migrations", json::array()}, {"total", 0}}));
  EXPECT_EQ(get("/v1/hosts").json(), (json{{"hosts", json::array()}}));
  EXPECT_EQ(get("/v1/doubt").json(), (json{{"doubts", json::array()}}));
}

TEST_F(Requests, AnAnswerIsJsonOfItsLength) {
  const Answer answer = get("/v1/status");

  EXPECT_THAT(answer.head, HasSubstr("\r\nContent-Type: application/json\r\n"));
  EXPECT_THAT(answer.head, HasSubstr(fmt::format("\r\nContent-Length: {}", answer.body.size())));
  EXPECT_TRUE(answer.body.ends_with("}\n"));
}

TEST_F(Requests, ASessionServesSeveralRequests) {
  const std::string first = "GET /v1/hosts HTTP/1.1\r\n\r\n";

  const Answer answer = send(first + request("GET", "/v1/nothing"));

  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.body, HasSubstr("HTTP/1.1 404 "));
}

TEST_F(Requests, EventsAreAStream) {
  const Answer answer = get("/v1/events?service=web");

  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.head, HasSubstr("\r\nContent-Type: text/event-stream"));
}

// Returns the name of each value that is no object, as `sockmictl status` prints it.
void flatten(const json& value, const std::string& name, std::map<std::string, json>& out) {
  if (!value.is_object()) {
    out[name] = value;
    return;
  }
  for (const auto& [key, each] : value.items())
    flatten(each, name.empty() ? key : name + "." + key, out);
}

TEST_F(Requests, TheStatusHasEachMetricAtItsPlace) {
  std::map<std::string, json> values;
  flatten(get("/v1/status").json(), "", values);

  std::set<std::string> there;
  for (const auto& [name, value] : values)
    there.insert(name);
  const auto names = metric_names();
  EXPECT_EQ(there, std::set<std::string>(names.begin(), names.end()));
  EXPECT_EQ(there.size(), names.size()) << "a name occurs twice";
}

// So a program that reads them need not look at the type.
TEST_F(Requests, EachMetricHasItsType) {
  const std::set<std::string> texts = {"host",         "version",          "address",
                                       "repairs.last", "repairs.error",    "journal.error",
                                       "barrier",      "congestion_window"},
                              lists = {"home.unreachable", "warnings"},
                              flags = {"cordoned", "testing"};
  std::map<std::string, json> values;
  flatten(get("/v1/status").json(), "", values);

  for (const auto& [name, value] : values) {
    EXPECT_EQ(value.is_string(), texts.contains(name)) << name << ": " << value;
    EXPECT_EQ(value.is_array(), lists.contains(name)) << name << ": " << value;
    EXPECT_EQ(value.is_boolean(), flags.contains(name)) << name << ": " << value;
    EXPECT_EQ(value.is_number_unsigned(),
              !texts.contains(name) && !lists.contains(name) && !flags.contains(name))
        << name << ": " << value;
  }
}

TEST_F(Requests, TheNameOfAMetricIsWords) {
  for (const std::string& name : metric_names())
    EXPECT_TRUE(std::ranges::all_of(name, [](char c) {
      return (c >= 'a' && c <= 'z') || c == '_' || c == '.';
    })) << name;
}

}  // namespace
}  // namespace sockmi::api
