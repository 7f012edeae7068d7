// Endpoints that were handed to an application, until it says which of them it has taken. An application that dies, hangs, or can't use what it got,
// leaves them here: they go back on the ready list, and are kept from it.
#pragma once

#include <map>
#include <vector>

#include "broker/import_lists.h"

namespace sockmi::broker {

class Deliveries {
 public:
  using Number = std::uint64_t;
  explicit Deliveries(ImportLists& lists) : lists_(lists) {}
  Deliveries(const Deliveries&) = delete;

  Number begin(std::vector<Ready> those, pid_t process);
  // It is the application's now. False: this delivery has it no more, and the application must not use it.
  bool taken(Number delivery, const image::MigrationId& id);
  // The application can't use it.
  void failed(Number delivery, const image::MigrationId& id, const Error& why);
  // The rest goes back.
  void end(Number delivery);
  // Whoever has not said by now that he has taken them, has not.
  void take_back(std::chrono::steady_clock::time_point began_before);
  bool empty() const { return all_.empty(); }

 private:
  struct Delivery {
    pid_t process;
    std::chrono::steady_clock::time_point began;
    std::vector<Ready> those;
  };
  void give_back(Ready ready, pid_t process, bool for_ever);

  ImportLists& lists_;
  std::map<Number, Delivery> all_;
  Number last_ = 0;
};

}  // namespace sockmi::broker
