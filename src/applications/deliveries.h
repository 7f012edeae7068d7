// Tracks endpoints that were handed to an application until it has taken them.
//
// If the application dies, hangs, or cannot use an endpoint, the endpoint goes back into
// the import queue, and is kept from that process. Each endpoint has a token, which
// either the application takes or the daemon. So it never happens that both have the
// endpoint, or neither. The endpoints of a group have one token, so an application has
// all of them or none.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "applications/import_queue.h"
#include "base/token.h"

namespace sockmi::daemon {

class Deliveries {
 public:
  using Number = std::uint64_t;
  // Is called when an application has an endpoint, or all endpoints of a group.
  using OnTaken = std::function<void(std::span<const wire::MigrationId>)>;
  explicit Deliveries(ImportQueue& lists, OnTaken on_taken = {})
      : queue_(lists),
        on_taken_(std::move(on_taken)) {}
  Deliveries(const Deliveries&) = delete;

  // Begins a delivery of the endpoints `those` to `process`; those of a group follow each
  // other. Returns 0 if there are none.
  // After an error they are on the ready list again.
  Result<Number> begin(std::vector<ReadyEndpoint> those, pid_t process);
  struct Handed {
    ReadyEndpoint ready;
    std::shared_ptr<Token> token;
  };
  std::span<const Handed> handed(Number delivery) const;
  // The application has the endpoint and its group now. Returns false if it is not in
  // this delivery any more.
  bool taken(Number delivery, const wire::MigrationId& id);
  // The application cannot use the endpoint, which goes back on the ready list with its
  // group.
  void failed(Number delivery, const wire::MigrationId& id, const Error& why);
  // Ends a delivery: what is left of it goes back on the ready list.
  void end(Number delivery);
  // Ends the deliveries that began before this time: their applications have not reported
  // that they have the endpoints.
  void take_back(std::chrono::steady_clock::time_point began_before);
  bool empty() const { return all_.empty(); }

 private:
  struct Delivery {
    pid_t process;
    std::chrono::steady_clock::time_point began;
    std::vector<Handed> those;
  };
  static std::vector<Handed> extract(Delivery& delivery, const wire::MigrationId& id);
  // Puts the endpoints of a group back on the ready list, unless the application has
  // taken the token first.
  void give_back(std::vector<Handed> group, pid_t process, bool for_ever);
  void has_taken(const std::vector<Handed>& group);

  ImportQueue& queue_;
  const OnTaken on_taken_;
  std::map<Number, Delivery> all_;
  Number last_ = 0;
};

}  // namespace sockmi::daemon
