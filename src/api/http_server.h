// One local client: HTTP/1.1 requests over a Unix socket, with descriptors riding along (SCM_RIGHTS).
//
// A client may send nothing, or a part of a request, or not read its answer: each of these ends by a deadline, and what it holds meanwhile counts (quota.h).
#pragma once

#include <functional>
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

// The largest body of an export: the largest payload, and room for a TLS image with a chain of certificates.
inline constexpr std::size_t kLargestBody = (1u << 20) + (256u << 10);
// Of every other request.
inline constexpr std::size_t kLargestQuestion = 64u << 10;
inline constexpr const char* kExports = "/v1/exports";  // the one request with descriptors, and with a large body

struct Request {
  http::request<GrowingBody> http;
  std::vector<unique_fd> descriptors;  // that came with it
  User user;                           // the client
  std::string path;                    // the target without its query
  std::vector<std::pair<std::string, std::string>> query;
  std::string parameter(const std::string& name) const;  // "" if it is not there
};

struct Response {
  int status = 200;
  std::string type = "application/json";
  std::string text = {};                   // the body,
  Secret body = {};                        // or this, which holds secrets
  std::vector<unique_fd> descriptors = {};
};

Response json_response(int status, const nlohmann::json& value);
// {"error": reason, "errno": code, "name": "ECODE"}; the latter two unless code is 0.
Response refuse(int status, const std::string& reason, int code = 0);
Response refuse_for(const Error& error);  // its errno decides the status

inline const std::vector<unique_fd> kNoDescriptors;

// What lives as long as the client's connection. Destroyed when the client goes.
struct SessionState {
  virtual ~SessionState() = default;
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  using Handler = std::function<asio::awaitable<Response>(Session&, Request&)>;
  Session(LocalSocket socket, User user, Quotas::Share share, Handler handler)
      : socket_(std::move(socket)), timer_(socket_.get_executor()), user_(std::move(user)), share_(std::move(share)), handler_(std::move(handler)) {}

  asio::awaitable<void> run();
  int borrow_fd() { return socket_.native_handle(); }
  // For responses without an end: the head, then raw bytes. False: the client is gone, or does not read. The handler then returns status 0.
  asio::awaitable<bool> begin_stream(const std::string& type);
  asio::awaitable<bool> send(ByteView bytes, const std::vector<unique_fd>& descriptors = kNoDescriptors);
  // True as soon as the client has closed its end. Requests that it sends meanwhile stay unread.
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
  // From now on no wait for the client takes longer, until disarm().
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

// Listens at `path` (mode 0666: policy decides by user, not by file mode) until the io_context ends; removes the socket file then.
class Listener {
 public:
  static std::unique_ptr<Listener> open(asio::io_context& io, const std::string& path, Session::Handler handler, std::string& error);
  ~Listener();

 private:
  Listener(asio::io_context& io, std::string path);
  static asio::awaitable<void> accept(Listener& self, Session::Handler handler);
  asio::local::stream_protocol::acceptor acceptor_;
  std::string path_;
  std::shared_ptr<Quotas> quotas_;
};

}  // namespace sockmi::api
