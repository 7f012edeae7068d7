// The names of users. A name service may take long (LDAP, sssd), so it is asked off the event loop, and only its own user waits for it.
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

  // "uid:N": the user has no name, or the service has not answered within two seconds. Remembered for a minute.
  asio::awaitable<std::string> of(std::uint32_t uid);

 private:
  using Clock = std::chrono::steady_clock;
  struct Mailbox {  // how a thread reaches us, who may be gone when it has its answer
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
  std::map<std::uint32_t, std::list<std::shared_ptr<daemon::Event>>> asked_;  // of whom a thread asks, and who waits for that
};

}  // namespace sockmi::api
