// One local client: HTTP/1.1 requests over a Unix socket, with descriptors riding along (SCM_RIGHTS).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/vector_body.hpp>
#include <nlohmann/json_fwd.hpp>

#include "base/secret.h"
#include "base/unique_fd.h"

namespace sockmi::api {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using SecretBody = http::vector_body<std::uint8_t, SecretAllocator<std::uint8_t>>;
using LocalSocket = asio::local::stream_protocol::socket;

// The largest body: the largest payload, and room for a TLS image with a chain of certificates.
inline constexpr std::size_t kLargestBody = (1u << 20) + (256u << 10);

struct Request {
  http::request<SecretBody> http;
  std::vector<unique_fd> descriptors;  // that came with it
  std::string user;                    // of the client, as the kernel says
  std::string path;                    // the target without its query
  std::vector<std::pair<std::string, std::string>> query;
  std::string parameter(const std::string& name) const;  // "" if it is not there
};

struct Response {
  int status = 200;
  std::string type = "application/json";
  Secret body;
  std::vector<unique_fd> descriptors;
};

Response json_response(int status, const nlohmann::json& value);
// {"error": reason, "errno": code, "name": "ECODE"}; the latter two unless code is 0.
Response refuse(int status, const std::string& reason, int code = 0);

// What lives as long as the client's connection. Destroyed when the client goes.
struct SessionState {
  virtual ~SessionState() = default;
};

class Session : public std::enable_shared_from_this<Session> {
 public:
  using Handler = std::function<asio::awaitable<Response>(Session&, Request&)>;
  Session(LocalSocket socket, Handler handler) : socket_(std::move(socket)), handler_(std::move(handler)) {}

  asio::awaitable<void> run();
  int borrow_fd() { return socket_.native_handle(); }
  // For responses without an end: the head, then raw bytes. False: the client is gone. The handler then returns status 0.
  asio::awaitable<bool> begin_stream(const std::string& type);
  asio::awaitable<bool> send(Secret bytes, std::vector<unique_fd> descriptors = {});
  // True as soon as the client has closed its end. Requests that it sends meanwhile stay unread.
  asio::awaitable<void> wait_gone();
  LocalSocket& socket() { return socket_; }
  std::unique_ptr<SessionState> state;

 private:
  asio::awaitable<void> drain();
  asio::awaitable<bool> receive(std::vector<unique_fd>& descriptors);
  asio::awaitable<bool> respond(Response response, bool keep_alive);

  LocalSocket socket_;
  Handler handler_;
  Secret unread_;
};

// Listens at `path` (mode 0666: policy decides by user, not by file mode) until the io_context ends; removes the socket file then.
class Listener {
 public:
  static std::unique_ptr<Listener> open(asio::io_context& io, const std::string& path, Session::Handler handler, std::string& error);
  ~Listener();

 private:
  Listener(asio::io_context& io, std::string path) : acceptor_(io), path_(std::move(path)) {}
  static asio::awaitable<void> accept(Listener& self, Session::Handler handler);
  asio::local::stream_protocol::acceptor acceptor_;
  std::string path_;
};

}  // namespace sockmi::api
