// The migrations that have ended, as the status shows them.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include "base/address.h"
#include "base/user.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

// One entry of /v1/migrations.
struct Record {
  wire::MigrationId id{};
  bool exported = false;  // else imported
  std::string service, from, to, result, error;
  User owner;
  FourTuple tuple;
  std::chrono::system_clock::time_point started;
  // From the freeze to the importer's thaw, which is computed from COMMIT's round trip.
  // -1: not known.
  std::int64_t freeze_us = -1;
  // What was sent in the freeze. Exports: the endpoint's share of the PREPARE message.
  // Imports: only the TLS image and the payload.
  std::size_t bytes = 0;
  // Bytes of the receive queue that the importer had before the freeze.
  std::size_t pre_copied = 0;
  int error_code = 0;  // the errno of `error`; 0: none
};

// The last kMost of them, the oldest first.
class History {
 public:
  static constexpr std::size_t kMost = 4096;
  void add(Record record) {
    if (on_add) on_add(record);
    all_.push_back(std::move(record));
    if (all_.size() > kMost) all_.pop_front();
  }
  const std::deque<Record>& all() const { return all_; }
  // Is called with each record; none: nobody follows the migrations.
  std::function<void(const Record&)> on_add;

 private:
  std::deque<Record> all_;
};

}  // namespace sockmi::daemon
