// Tests what an import returns to its caller when the daemon answers wrongly, or no
// longer answers. The test acts as the daemon.
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <sockmi/appsockmi.h>

#include "base/token.h"
#include "base/unique_fd.h"
#include "unit/daemon_http.h"
#include "unit/daemon_socket.h"
#include "wire/control_generated.h"
#include "wire/flatbuffer.h"

namespace {

using namespace sockmi;

// One endpoint of the answer: the request that it meets, and its descriptors and bytes.
struct Endpoint {
  unsigned request;
  std::string tls, payload;
  unsigned group = 0;
};

// Serves one client: delivers the endpoints, with `descriptors` descriptors (two per
// endpoint), and reads what the client took. Then it answers that, or does not.
class Daemon {
 public:
  enum class End {
    answers,
    has_taken_back,
    dies,
    refuses,
    is_silent
  };  // has_taken_back: the first endpoint, before it is delivered

  Daemon(std::vector<Endpoint> endpoints, std::size_t descriptors, End end) {
    for (std::size_t i = 0; i < descriptors; ++i) {
      if (i % 2) {
        tokens_.push_back(std::move(*Token::make()));
        theirs_.emplace_back(::dup(tokens_.back().fd()));
        continue;
      }
      std::array<int, 2> ends;
      EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
      ours_.emplace_back(ends[0]);
      theirs_.emplace_back(ends[1]);
    }
    if (end == End::has_taken_back) (void)tokens_.at(0).take();
    thread_ = std::thread([this, endpoints = std::move(endpoints), end] { serve(endpoints, end); });
  }
  ~Daemon() { done(); }

  // Returns the ids that the client has taken, by their first byte, when the client has
  // closed.
  std::string taken() {
    done();
    return taken_;
  }
  std::string failed() {
    done();
    return failed_;
  }
  int error() {
    done();
    return error_;
  }
  // Returns whether the client took the i-th endpoint's token.
  bool has_token_of(std::size_t i) {
    done();
    return tokens_.at(i).is_lost();
  }
  // Returns whether no process has the other end of the i-th endpoint's socket.
  bool is_closed(std::size_t i) {
    done();
    char byte;
    return ::recv(ours_[i].get(), &byte, 1, MSG_DONTWAIT) == 0;
  }

 private:
  void done() {
    if (thread_.joinable()) thread_.join();
  }

  void serve(const std::vector<Endpoint>& endpoints, End end) {
    const unique_fd client = socket_.accept();
    (void)test::read_request(client.get());
    wire::WipingBuilder builder;
    std::vector<flatbuffers::Offset<wire::Delivered>> delivered;
    for (const auto& [request, tls, payload, group] : endpoints) {
      const Bytes id(16, static_cast<std::uint8_t>('a' + delivered.size())),
          tls_bytes(tls.begin(), tls.end()), payload_bytes(payload.begin(), payload.end());
      const std::uint8_t state = tls.empty() ? SOCKMI_CONNECTED : SOCKMI_SERVER_CONNECTED;
      delivered.push_back(wire::CreateDeliveredDirect(builder, request, &id, state, &tls_bytes,
                                                      &payload_bytes, group));
    }
    builder.Finish(wire::CreateImportResponseDirect(builder, &delivered));
    const Secret body = builder.take();
    EXPECT_TRUE(test::answer(client.get(), 200, {body.begin(), body.end()}, theirs_));
    theirs_.clear();
    const auto taken = test::read_request(client.get());
    if (!taken) return;
    const Secret aligned(taken->body.begin(), taken->body.end());
    const auto said = wire::read<wire::TakenRequest>(aligned);
    ASSERT_TRUE(said);
    const ByteView ids = wire::view((*said)->ids());
    for (std::size_t i = 0; i < ids.size(); i += 16)
      taken_ += static_cast<char>(ids[i]);
    if ((*said)->failed())
      for (const auto* each : *(*said)->failed())
        failed_ += static_cast<char>(each->id()->Get(0)), error_ = each->error();
    if (end == End::is_silent) {
      (void)test::read_request(client.get());  // the client gives up
    } else if (end != End::dies) {
      EXPECT_TRUE(test::answer(client.get(), end == End::refuses ? 400 : 200, "{}"));
    }
  }

  const test::DaemonSocket socket_;
  std::vector<unique_fd> ours_, theirs_;
  std::vector<Token> tokens_;
  std::string taken_, failed_;
  int error_ = 0;
  std::thread thread_;
};

using Requests = std::array<sockmi_import_socket_req, 3>;

int import(Requests& requests) {
  requests = {};
  for (auto& request : requests)
    request.fd = request.state = 12345;
  return import_socket(requests.data(), requests.size(), -1);
}

void expect_unmet(const sockmi_import_socket_req& request) {
  EXPECT_EQ(request.fd, -1);
  EXPECT_EQ(request.state, 0);
  EXPECT_EQ(request.payload, nullptr);
  EXPECT_EQ(request.payload_len, 0u);
}

void expect_met(sockmi_import_socket_req& request, const std::string& payload) {
  ASSERT_GE(request.fd, 0);
  EXPECT_EQ(request.state, SOCKMI_CONNECTED);
  EXPECT_EQ(std::string(static_cast<const char*>(request.payload), request.payload_len), payload);
  ::close(request.fd);
  std::free(request.payload);
}

TEST(Import, RequestsWithoutAnEndpointStayUnmet) {
  Daemon daemon({{2, "", "two"}, {0, "", "zero"}}, 4, Daemon::End::answers);
  Requests requests;
  ASSERT_EQ(import(requests), 2) << sockmi_last_error();
  EXPECT_EQ(daemon.taken(), "ab");
  EXPECT_FALSE(daemon.is_closed(0) || daemon.is_closed(1));
  expect_met(requests[0], "zero");
  expect_unmet(requests[1]);
  expect_met(requests[2], "two");
}

// The token decides who owns the endpoint, whatever the daemon says about it or does not
// say.
TEST(Import, ATakenEndpointIsTheCallersWhateverTheDaemonAnswers) {
  for (const auto end : {Daemon::End::dies, Daemon::End::refuses, Daemon::End::is_silent}) {
    Daemon daemon({{0, "", "payload"}}, 2, end);
    Requests requests;
    ASSERT_EQ(import(requests), 1) << sockmi_last_error();
    EXPECT_TRUE(daemon.has_token_of(0));
    EXPECT_FALSE(daemon.is_closed(0));
    expect_met(requests[0], "payload");
  }
}

// The daemon waits only for a limited time for the caller to take the endpoints.
TEST(Import, AnEndpointThatTheDaemonTookBackIsNotReturned) {
  Daemon daemon({{0, "", "one"}, {1, "", "two"}}, 4, Daemon::End::has_taken_back);
  Requests requests;
  ASSERT_EQ(import(requests), 1) << sockmi_last_error();
  EXPECT_EQ(daemon.taken(), "b");
  EXPECT_TRUE(daemon.is_closed(0));
  EXPECT_FALSE(daemon.is_closed(1));
  expect_unmet(requests[0]);
  expect_met(requests[1], "two");
}

// As if this process could not have more descriptors.
TEST(Import, AnEndpointWithoutADescriptorStaysWithTheDaemon) {
  for (const std::size_t descriptors : {2, 3}) {
    Daemon daemon({{0, "", "one"}, {1, "", "two"}}, descriptors, Daemon::End::answers);
    Requests requests;
    ASSERT_EQ(import(requests), 1) << sockmi_last_error();
    EXPECT_EQ(daemon.taken(), "a");
    EXPECT_EQ(daemon.failed(), "b");
    EXPECT_EQ(daemon.error(), EMFILE);
    expect_met(requests[0], "one");
    expect_unmet(requests[1]);
  }
  Daemon daemon({{0, "", "one"}}, 0, Daemon::End::answers);
  Requests requests;
  EXPECT_EQ(import(requests), -1);
  EXPECT_EQ(errno, EMFILE);
  EXPECT_EQ(daemon.taken(), "");
}

TEST(Import, AMalformedAnswerIsRefusedAsAWhole) {
  const std::vector<Endpoint> twice{{0, "", "one"}, {0, "", "two"}},
      beyond{{0, "", "one"}, {3, "", "two"}}, fewer{{0, "", "one"}};
  for (const auto& endpoints : {twice, beyond, fewer}) {
    Daemon daemon(endpoints, 4, Daemon::End::answers);
    Requests requests;
    EXPECT_EQ(import(requests), -1);
    EXPECT_EQ(errno, EBADMSG);
    EXPECT_EQ(daemon.taken(), "");
    EXPECT_TRUE(daemon.is_closed(0) && daemon.is_closed(1));
    EXPECT_FALSE(daemon.has_token_of(0) || daemon.has_token_of(1));
    for (const auto& request : requests)
      expect_unmet(request);
  }
}

TEST(Import, AnUnusableImageStaysWithTheDaemon) {
  Daemon daemon({{0, "no image", "payload"}}, 2, Daemon::End::answers);
  ASSERT_EQ(sockmi_enable(nullptr), 0);
  SSL_CTX* context = SSL_CTX_new(TLS_method());
  sockmi_import_ssl_req request{};
  request.ssl = SSL_new(context);
  EXPECT_EQ(import_ssl(&request, 1, -1), -1);
  EXPECT_EQ(errno, EBADMSG);
  EXPECT_EQ(daemon.taken(), "");
  EXPECT_EQ(daemon.failed(), "a");
  EXPECT_EQ(daemon.error(), EBADMSG);
  EXPECT_FALSE(daemon.has_token_of(0));
  EXPECT_TRUE(daemon.is_closed(0));
  EXPECT_EQ(request.fd, -1);
  EXPECT_EQ(request.payload, nullptr);
  SSL_free(request.ssl);
  SSL_CTX_free(context);
}

TEST(Import, AGroupWithAnUnusableImageStaysWithTheDaemonAsAWhole) {
  Daemon daemon({{0, "", "one", 1}, {1, "no image", "two", 1}, {2, "", "three"}}, 6,
                Daemon::End::answers);
  ASSERT_EQ(sockmi_enable(nullptr), 0);
  SSL_CTX* context = SSL_CTX_new(TLS_method());
  std::array<sockmi_import_ssl_req, 3> requests{};
  requests[0].criteria.states = requests[2].criteria.states = SOCKMI_CONNECTED;
  requests[1].ssl = SSL_new(context);
  EXPECT_EQ(import_ssl(requests.data(), requests.size(), -1), 1) << sockmi_last_error();
  EXPECT_EQ(daemon.taken(), "c");
  EXPECT_EQ(daemon.failed(), "ab");
  EXPECT_EQ(daemon.error(), EBADMSG);
  EXPECT_FALSE(daemon.has_token_of(0) || daemon.has_token_of(1));
  EXPECT_TRUE(daemon.is_closed(0) && daemon.is_closed(1));
  EXPECT_FALSE(daemon.is_closed(2));
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(requests[i].fd, -1);
    EXPECT_EQ(requests[i].ssl_state, 0);
    EXPECT_EQ(requests[i].payload, nullptr);
    EXPECT_EQ(requests[i].group, 0u);
  }
  EXPECT_EQ(requests[2].ssl_state, SOCKMI_CONNECTED);
  ::close(requests[2].fd);
  std::free(requests[2].payload);
  SSL_free(requests[1].ssl);
  SSL_CTX_free(context);
}

TEST(Import, TheEndpointsOfAGroupHaveItsNumber) {
  Daemon daemon({{0, "", "one", 7}, {2, "", "two", 7}, {1, "", "three"}}, 6, Daemon::End::answers);
  Requests requests;
  ASSERT_EQ(import(requests), 3) << sockmi_last_error();
  EXPECT_EQ(daemon.taken(), "abc");
  EXPECT_EQ(requests[0].group, 7u);
  EXPECT_EQ(requests[1].group, 0u);
  EXPECT_EQ(requests[2].group, 7u);
  expect_met(requests[0], "one");
  expect_met(requests[1], "three");
  expect_met(requests[2], "two");
}

TEST(Import, AnEndpointThatTheApplicationRefusesStaysWithTheDaemon) {
  Daemon daemon({{0, "", "bad"}, {1, "", "good"}}, 4, Daemon::End::answers);
  Requests requests{};
  std::string seen;
  for (auto& request : requests) {
    request.accept_arg = &seen;
    request.accept = [](void* arg, const void* payload, std::size_t size) {
      const std::string text(static_cast<const char*>(payload), size);
      *static_cast<std::string*>(arg) += text + " ";
      return text == "bad" ? ENOTSUP : 0;
    };
  }

  ASSERT_EQ(import_socket(requests.data(), requests.size(), -1), 1) << sockmi_last_error();

  EXPECT_EQ(seen, "bad good ");
  EXPECT_EQ(daemon.taken(), "b");
  EXPECT_EQ(daemon.failed(), "a");
  EXPECT_EQ(daemon.error(), ENOTSUP);
  EXPECT_TRUE(daemon.is_closed(0));
  EXPECT_FALSE(daemon.has_token_of(0));
  expect_unmet(requests[0]);
  expect_met(requests[1], "good");
}

TEST(Import, RefusedCriteriaClearEveryRequest) {
  Requests requests{};
  for (auto& request : requests)
    request.fd = request.state = 12345;
  requests[0].criteria.states = SOCKMI_SERVER_ESTABLISHED;
  EXPECT_EQ(import_socket(requests.data(), requests.size(), 0), -1);
  EXPECT_EQ(errno, EINVAL);
  for (const auto& request : requests)
    expect_unmet(request);
}

}  // namespace
