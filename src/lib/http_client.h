// An HTTP/1.1 client of the daemon's Unix socket, which also passes descriptors: the
// libraries' counterpart of src/api. Every call returns by its deadline (ETIMEDOUT), no
// matter what the daemon does.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/secret.h"
#include "base/unique_fd.h"

namespace sockmi::lib {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;  // max(): no limit

// For requests that the daemon answers immediately.
inline constexpr std::chrono::seconds kAnswerTime{5};
inline Deadline soon() {
  return Clock::now() + kAnswerTime;
}

struct Reply {
  int status = 0;
  Secret body;
  std::vector<unique_fd> descriptors;
  std::optional<Error> refused;  // status 4xx or 5xx: the daemon's errno and reason
};

class Client {
 public:
  // Connects to $SOCKMID_SOCKET, or to the default path. Errors: ENXIO if no daemon is
  // there; EACCES if this user may not connect to it.
  static Result<Client> connect(Deadline until);
  // Sends one request and returns the response. A refusal by the daemon is returned as an
  // Error.
  Result<Reply> call(const std::string& method, const std::string& target, ByteView body,
                     Deadline until);
  // The two halves of call(), with any number of descriptors (borrowed). When the
  // deadline of read_reply() has passed, `more` is called once, and can return a later
  // deadline.
  Result<> send_request(const std::string& method, const std::string& target, ByteView body,
                        std::span<const int> descriptors, Deadline until);
  Result<Reply> read_reply(Deadline until, std::function<std::optional<Deadline>()> more = {});
  // Sends a request whose response has no end. The returned descriptor yields the
  // response's body.
  Result<unique_fd> stream(const std::string& target, Deadline until) &&;
  // Returns the daemon's process id; 0 if it is in a PID namespace that is not visible
  // here.
  pid_t peer_pid() const;

 private:
  explicit Client(unique_fd socket) : socket_(std::move(socket)) {}
  Result<> send(ByteView bytes, std::span<const int> descriptors, Deadline until);
  unique_fd socket_;
};

inline constexpr const char* kDefaultSocket = "/run/sockmid/sockmid.sock";

}  // namespace sockmi::lib
