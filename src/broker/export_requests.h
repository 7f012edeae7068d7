// The operator asks (sockmictl export), the applications that hold the connections answer.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "broker/event.h"
#include "broker/import_lists.h"

namespace sockmi::broker {

struct ExportWish {
  std::uint64_t request = 0;
  Match local, remote;
  IpAddress to;  // any(): whoever will
};

struct ExportOutcome {
  unsigned applications = 0, answered = 0, exported = 0, failed = 0;
};

class ExportRequests {
 public:
  explicit ExportRequests(asio::any_io_executor executor) : executor_(executor) {}

  using Holder = std::shared_ptr<void>;
  // `ask` is called with each wish for the service while the handle lives.
  Holder hold(const std::string& service, std::function<void(const ExportWish&)> ask);

  std::set<std::string> services() const;  // those that have holders

  // Asks every holder of the service and waits until each has answered, or is gone, or the time is over.
  asio::awaitable<ExportOutcome> ask(std::string service, ExportWish wish, std::chrono::milliseconds timeout);
  Result<> done(std::uint64_t request, unsigned exported, unsigned failed);  // ENOENT: nobody waits for it

 private:
  struct Open {
    ExportOutcome outcome;
    unsigned outstanding = 0;
    Event settled;
  };
  struct Asked {
    std::string service;
    std::function<void(const ExportWish&)> ask;
  };
  struct Question {
    Open* open;
    const Asked* holder;
  };
  struct State {
    std::list<Asked> holders;
    std::map<std::uint64_t, Question> questions;  // by number: each holder is asked by one of its own
  };
  static void settle(State& state, std::map<std::uint64_t, Question>::iterator question);

  asio::any_io_executor executor_;
  std::uint64_t last_ = 0;
  std::shared_ptr<State> state_ = std::make_shared<State>();  // holders may outlive us
};

}  // namespace sockmi::broker
