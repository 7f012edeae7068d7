// The operator asks (sockmictl export), the applications that hold the connections answer.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/user.h"
#include "context/async_event.h"
#include "applications/import_queue.h"

namespace sockmi::daemon {

struct ExportRequest {
  std::uint64_t request = 0;
  Match local, remote;
  IpAddress to;  // any(): whoever will
};

struct ExportOutcome {
  unsigned applications = 0, answered = 0, exported = 0, failed = 0;
  std::vector<std::string> silent;  // the users of applications that have not answered
};

class ExportRequests {
 public:
  explicit ExportRequests(asio::any_io_executor executor) : executor_(executor) {}

  using Holder = std::shared_ptr<void>;
  // `ask` is called with each wish for the service while the handle lives.
  Holder hold(const std::string& service, const User& user, std::function<void(const ExportRequest&)> ask);

  std::set<std::string> services() const;  // those that have holders

  // Asks the holders of the service, root all of them and everybody else the asker's own, and waits until each has answered, or is gone, or the time is
  // over. A holder that has let the time go by is not waited for again before it has answered a request.
  asio::awaitable<ExportOutcome> ask(std::string service, ExportRequest wish, User asker, std::chrono::milliseconds timeout);
  // ENOENT: this user was not asked that, or nobody waits for it any more.
  Result<> done(std::uint64_t request, const User& user, unsigned exported, unsigned failed);

 private:
  struct Open {
    ExportOutcome outcome;
    unsigned outstanding = 0;
    Event settled;
  };
  struct Asked {
    std::string service;
    User user;
    std::function<void(const ExportRequest&)> ask;
    bool silent = false;
  };
  struct Question {
    Open* open;  // null: its asker has gone
    Asked* holder;
    bool awaited;
  };
  struct State {
    std::list<Asked> holders;
    std::map<std::uint64_t, Question> questions;  // by number: each holder is asked by one of its own
  };
  static void settle(State& state, std::map<std::uint64_t, Question>::iterator question);
  static void forget(State& state, const Open& open);

  asio::any_io_executor executor_;
  std::shared_ptr<State> state_ = std::make_shared<State>();  // holders may outlive us
};

}  // namespace sockmi::daemon
