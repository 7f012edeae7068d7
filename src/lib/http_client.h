// An HTTP/1.1 client of the daemon's Unix socket, with descriptors riding along. Libraries' side of src/api. Every call waits until its deadline at most
// (ETIMEDOUT), whatever the daemon does, or does not.
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
using Deadline = Clock::time_point;  // max(): waits for ever

// For what the daemon answers at once.
inline constexpr std::chrono::seconds kAnswerTime{5};
inline Deadline soon() { return Clock::now() + kAnswerTime; }

struct Reply {
  int status = 0;
  Secret body;
  std::vector<unique_fd> descriptors;
  std::optional<Error> refused;  // a status of 4xx or 5xx: the daemon's errno and reason
};

class Client {
 public:
  static Result<Client> connect(Deadline until);  // to $SOCKMID_SOCKET, or the default path
  // One request, one response. What the daemon refuses is an Error.
  Result<Reply> call(const std::string& method, const std::string& target, ByteView body, Deadline until);
  // The two halves of a call, with any number of descriptors (borrowed). The deadline of the second can be put off, once: `more` is asked for another.
  Result<> send_request(const std::string& method, const std::string& target, ByteView body, std::span<const int> descriptors, Deadline until);
  Result<Reply> read_reply(Deadline until, std::function<std::optional<Deadline>()> more = {});
  // Starts a response without an end; from then on the descriptor carries its body.
  Result<unique_fd> stream(const std::string& target, Deadline until) &&;
  pid_t peer_pid() const;  // the daemon's; 0 if it is in a process namespace that we do not see

 private:
  explicit Client(unique_fd socket) : socket_(std::move(socket)) {}
  Result<> send(ByteView bytes, std::span<const int> descriptors, Deadline until);
  unique_fd socket_;
};

inline constexpr const char* kDefaultSocket = "/run/sockmid/sockmid.sock";

}  // namespace sockmi::lib
