// A blocking HTTP/1.1 client of the daemon's Unix socket, with descriptors riding along. Libraries' side of src/api.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/secret.h"
#include "base/unique_fd.h"

namespace sockmi::lib {

struct Reply {
  int status = 0;
  Secret body;
  std::vector<unique_fd> descriptors;
};

class Client {
 public:
  static Result<Client> connect();  // to $SOCKMID_SOCKET, or the default path
  // One request, one response; `descriptor` (borrowed) rides along unless -1. A status of 4xx or 5xx is an Error: the daemon's errno and reason.
  // `patience`: how long to wait for the response; none: for ever.
  Result<Reply> call(const std::string& method, const std::string& target, ByteView body, int descriptor = -1,
                     std::optional<std::chrono::milliseconds> patience = std::nullopt);
  // The two halves of a call, with any number of descriptors (at most 64 get through).
  Result<> send_request(const std::string& method, const std::string& target, ByteView body, std::span<const int> descriptors);
  Result<Reply> read_reply(std::optional<std::chrono::milliseconds> patience = std::nullopt);
  // Starts a response without an end; from then on the descriptor carries its body.
  Result<unique_fd> stream(const std::string& target) &&;
  pid_t peer_pid() const;  // the daemon's; 0 if it is in a process namespace that we do not see

 private:
  explicit Client(unique_fd socket) : socket_(std::move(socket)) {}
  Result<> send(ByteView bytes, std::span<const int> descriptors = {});
  unique_fd socket_;
};

inline constexpr const char* kDefaultSocket = "/run/sockmid/sockmid.sock";

}  // namespace sockmi::lib
