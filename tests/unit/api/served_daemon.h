// A whole daemon whose HTTP interface the tests use, in a thread and a network of its
// own.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

namespace sockmi::api {

// Whether the program is in a sandbox (unit/sandbox.h), as a daemon must be.
inline bool is_sandboxed = false;

inline constexpr uid_t kSomeUser = 54321;  // without a name

class ServedDaemon {
 public:
  ServedDaemon();
  ~ServedDaemon();
  const std::string& socket() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// The names of all metrics.
std::vector<std::string> metric_names();

struct Answer {
  int status = 0;
  std::string head, body;
  nlohmann::json json() const { return nlohmann::json::parse(body, nullptr, false); }
};

// Sends the bytes of a request as this user, and returns the answer. Status 0: none.
Answer talk(const std::string& socket, const std::string& request, uid_t as = 0,
            std::span<const int> descriptors = {});

// Returns the bytes of a request that closes the connection.
std::string request(const std::string& method, const std::string& target,
                    const std::string& body = "", const std::string& fields = "");

// Calls the function in a thread of this user.
template <class Function>
void as_user(uid_t uid, Function function) {
  std::thread([&] {
    // Not by setresuid(), which changes the user of all threads. It finds files as root
    // does: the folder of the socket may be closed to others.
    if (::syscall(SYS_setresuid, uid, uid, 0) != 0) throw std::runtime_error("setresuid");
    ::syscall(SYS_setfsuid, 0);
    function();
  }).join();
}

}  // namespace sockmi::api
