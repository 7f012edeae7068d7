// Serves local clients: HTTP/1.1 over a Unix socket, with descriptors attached
// (SCM_RIGHTS).
//
// A client may send nothing, or a part of a request, or not read its answer. Each of
// these ends by a deadline, and what the client occupies meanwhile counts against its
// quota (quota.h).
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <nlohmann/json_fwd.hpp>

#include "api/growing_body.h"
#include "api/quota.h"
#include "base/secret.h"
#include "base/unique_fd.h"
#include "base/user.h"

namespace sockmi::api {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using LocalSocket = asio::local::stream_protocol::socket;

// The largest body of an export: the largest payload, and space for a TLS image with a
// certificate chain.
inline constexpr std::size_t kLargestBody = (1u << 20) + (256u << 10);
// The largest body of any other request.
inline constexpr std::size_t kLargestQuestion = 64u << 10;
// The only requests with descriptors, and the only ones with a large body.
inline constexpr const char* kExports = "/v1/exports";
inline constexpr const char* kHandOvers = "/v1/hand-overs";

// NOLINTNEXTLINE(bugprone-exception-escape): Beast's fields allocate when assigned
struct Request {
  http::request<GrowingBody> http;
  std::vector<unique_fd> descriptors;  // that came with it
  User user;                           // the client
  std::string path;                    // the target without its query
  std::vector<std::pair<std::string, std::string>> query;
  std::string parameter(const std::string& name) const;  // "" if it is absent
  // Returns `otherwise` if it is absent or empty. Errors: EINVAL if it is not a number up
  // to `most`.
  Result<std::uint64_t> number(
      const std::string& name, std::uint64_t otherwise,
      std::uint64_t most = std::numeric_limits<std::uint64_t>::max()) const;
};

struct Response {
  int status = 200;
  std::string type = "application/json";
  std::string text = {};  // the body,
  Secret body = {};       // or this, if it contains secrets
  std::vector<unique_fd> descriptors = {};
};

Response json_response(int status, const nlohmann::json& value);
// Returns {"error": reason, "errno": code, "name": "ECODE"}; without the latter two if
// code is 0.
Response refuse(int status, const std::string& reason, int code = 0);
Response refuse_for(const Error& error);  // its errno determines the status

inline const std::vector<unique_fd> kNoDescriptors;

// State that lives as long as the client's connection. Destroyed when the client closes
// it.
struct SessionState {
  virtual ~SessionState() = default;
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  using Handler = std::function<asio::awaitable<Response>(Session&, Request&)>;
  Session(LocalSocket socket, User user, Quotas::Share share, Handler handler)
      : socket_(std::move(socket)),
        timer_(socket_.get_executor()),
        user_(std::move(user)),
        share_(std::move(share)),
        handler_(std::move(handler)) {}

  asio::awaitable<void> run();
  int borrow_fd() { return socket_.native_handle(); }
  // For responses without an end: first the head, then raw bytes. Both return false if
  // the client has gone or does not read; the handler then returns status 0.
  asio::awaitable<bool> begin_stream(const std::string& type);
  asio::awaitable<bool> send(ByteView bytes,
                             const std::vector<unique_fd>& descriptors = kNoDescriptors);
  // Returns when the client has closed its end, or sends something before it has its
  // answer, which counts as gone. What it has sent stays unread.
  asio::awaitable<void> wait_gone();
  LocalSocket& socket() { return socket_; }
  std::unique_ptr<SessionState> state;

 private:
  enum class Received { Request, Nothing, Refused };
  asio::awaitable<Received> read(Request& request);
  Result<> check(const http::request_parser<GrowingBody>& parser, const Request& request);
  asio::awaitable<void> drain();
  asio::awaitable<bool> receive(std::vector<unique_fd>& descriptors);
  ssize_t receive_now(std::vector<unique_fd>& descriptors);
  asio::awaitable<bool> respond(Response response, bool keep_alive);
  // Sets a deadline for all waits for the client, until disarm().
  void arm(std::chrono::milliseconds patience);
  void disarm();

  LocalSocket socket_;
  asio::steady_timer timer_;
  std::uint64_t armed_ = 0;  // the number of the deadline in force
  bool expired_ = false;
  const User user_;
  Quotas::Share share_;
  Handler handler_;
  Secret unread_;
};

// Listens at `path` until the io_context ends, and then removes the socket file. Its mode
// is 0666, because access is decided by user, not by file mode.
class Listener {
 public:
  static std::unique_ptr<Listener> open(asio::io_context& io, const std::string& path,
                                        Session::Handler handler, std::string& error);
  ~Listener();

 private:
  Listener(asio::io_context& io, std::string path);
  static asio::awaitable<void> accept(Listener& self, Session::Handler handler);
  asio::local::stream_protocol::acceptor acceptor_;
  std::string path_;
  std::shared_ptr<Quotas> quotas_;
};

}  // namespace sockmi::api
