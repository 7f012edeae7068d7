// Endpoints that were handed to an application, until it has taken them. An application that dies, hangs, or can't use what it got, leaves them here: they
// go back on the ready list, and are kept from it. Each has a token, which it takes, or we: so it and we never both have the endpoint, nor neither.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "base/token.h"
#include "applications/import_queue.h"

namespace sockmi::daemon {

class Deliveries {
 public:
  using Number = std::uint64_t;
  explicit Deliveries(ImportQueue& lists) : lists_(lists) {}
  Deliveries(const Deliveries&) = delete;

  // 0: there are none. An error: they are on the list again.
  Result<Number> begin(std::vector<ReadyEndpoint> those, pid_t process);
  struct Handed {
    ReadyEndpoint ready;
    Token token;
  };
  std::span<const Handed> handed(Number delivery) const;
  // It is the application's now. False: this delivery has it no more.
  bool taken(Number delivery, const wire::MigrationId& id);
  // The application can't use it.
  void failed(Number delivery, const wire::MigrationId& id, const Error& why);
  // The rest goes back.
  void end(Number delivery);
  // Whoever has not said by now that he has taken them, has not.
  void take_back(std::chrono::steady_clock::time_point began_before);
  bool empty() const { return all_.empty(); }

 private:
  struct Delivery {
    pid_t process;
    std::chrono::steady_clock::time_point began;
    std::vector<Handed> those;
  };
  // Unless the application was faster.
  void give_back(Handed handed, pid_t process, bool for_ever);

  ImportQueue& lists_;
  std::map<Number, Delivery> all_;
  Number last_ = 0;
};

}  // namespace sockmi::daemon
