// Passes an operator's requests to export (sockmictl export) to the applications that
// hold the connections, and collects their answers.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "applications/import_queue.h"
#include "base/user.h"
#include "context/async_event.h"

namespace sockmi::daemon {

struct ExportRequest {
  std::uint64_t request = 0;
  Match local, remote;
  IpAddress to;  // any(): any host that accepts
};

struct ExportOutcome {
  unsigned applications = 0, answered = 0, exported = 0, failed = 0;
  std::vector<std::string>
      unanswered;  // of which users there are applications that have not answered
  // Of which users without trust there are applications that have not answered, or have
  // said that they hold something.
  std::vector<std::string> in_doubt;
};

class ExportRequests {
 public:
  explicit ExportRequests(asio::any_io_executor executor) : executor_(std::move(executor)) {}

  using Holder = std::shared_ptr<void>;
  // Registers an application. `ask` is called with each request for the service, as long
  // as the returned handle lives.
  // `process`: 0 if it is not visible here.
  Holder hold(const std::string& service, const User& user,
              std::function<void(const ExportRequest&)> ask, pid_t process = 0);

  std::set<std::string> services() const;  // those with registered applications
  struct Application {
    std::string service;
    User user;
    pid_t process;
  };
  std::vector<Application> applications() const;

  // What the asker makes of an application's answer, or of its silence.
  enum class Trust {
    NotAsked,
    Doubted,  // it is asked, and what it says is not counted, but noted
    Counted,
  };
  using TrustIn = std::function<Trust(const User&)>;
  static Trust trust_all(const User&) { return Trust::Counted; }

  // Asks the applications of the service (for root all of them, for other users their
  // own), and waits until each has answered or gone, or the time is over. An application
  // that has not answered in time is not waited for again until it has answered a
  // request. The outcome counts what those applications say whose user is trusted.
  asio::awaitable<ExportOutcome> ask(std::string service, ExportRequest asked, User asker,
                                     std::chrono::milliseconds timeout, TrustIn trust = trust_all);
  // Reports an application's answer. Errors: ENOENT if this user was not asked that, or
  // if nobody waits for the answer any more.
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
    pid_t process = 0;
    bool unresponsive = false;
  };
  struct Question {
    Open* open;  // null: the caller of ask() has gone
    Asked* holder;
    bool awaited;
    bool counted;
  };
  struct State {
    std::list<Asked> holders;
    // By number. Each application gets a number of its own.
    std::map<std::uint64_t, Question> questions;
  };
  static void settle(State& state, std::map<std::uint64_t, Question>::iterator question);
  static void forget(State& state, const Open& open);

  asio::any_io_executor executor_;
  // Shared, because the handles may outlive this object.
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace sockmi::daemon
