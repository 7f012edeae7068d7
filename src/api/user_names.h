// Looks up the names of users. A name service may take long (LDAP, sssd), so it is called
// outside the event loop, and only requests of the same user wait for it.
#pragma once

#include <chrono>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include "context/async_event.h"

namespace sockmi::api {

namespace asio = boost::asio;

class UserNames {
 public:
  explicit UserNames(asio::io_context& io) : io_(io), mailbox_(std::make_shared<Mailbox>(this)) {}
  ~UserNames();
  UserNames(const UserNames&) = delete;

  // Returns the name, or "uid:N" if the user has no name, or if the service has not
  // answered within two seconds. Names are remembered for a minute.
  asio::awaitable<std::string> of(std::uint32_t uid);

 private:
  using Clock = std::chrono::steady_clock;
  // How a thread reaches this object, which may be gone when the thread has its answer.
  struct Mailbox {
    explicit Mailbox(UserNames* names) : names(names) {}
    std::mutex mutex;
    UserNames* names;
  };
  struct Name {
    std::string text;
    Clock::time_point until;
  };
  bool begin(std::uint32_t uid);
  void learn(std::uint32_t uid, std::string name);

  asio::io_context& io_;
  std::shared_ptr<Mailbox> mailbox_;
  std::map<std::uint32_t, Name> known_;
  // The users whose names are being looked up, and the requests that wait for them.
  std::map<std::uint32_t, std::list<std::shared_ptr<daemon::Event>>> asked_;
};

}  // namespace sockmi::api
