// How many connections each client has at a listener. Of IPv6 addresses the first 64 bits
// count, because a client has all the others (RFC 6177). Clients on Unix sockets are not
// counted.
//
// Used by all threads. Has an entry for each client that has connections, no more.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "base/address.h"

namespace sockmi::proxy {

class ClientLimit : public std::enable_shared_from_this<ClientLimit> {
 public:
  // One connection of a client's count.
  class Slot {
   public:
    Slot() = default;
    Slot(Slot&& other) noexcept
        : limit_(std::move(other.limit_)),
          client_(std::exchange(other.client_, {})) {}
    Slot& operator=(Slot&& other) noexcept {
      std::swap(limit_, other.limit_);
      std::swap(client_, other.client_);
      return *this;
    }
    ~Slot() {
      if (limit_) limit_->release(client_);
    }

   private:
    friend class ClientLimit;
    Slot(std::shared_ptr<ClientLimit> limit, const IpAddress& client)
        : limit_(std::move(limit)),
          client_(client) {}

    std::shared_ptr<ClientLimit> limit_;
    IpAddress client_;
  };

  // Errors: EDQUOT if the client has `most` connections.
  Result<Slot> acquire(const IpAddress& client, std::uint32_t most);
  // Returns whether the event of a refused client may be logged now.
  bool may_log();

 private:
  void release(const IpAddress& counted);

  std::mutex mutex_;
  std::map<IpAddress, std::uint32_t> counts_;
  std::chrono::steady_clock::time_point next_log_;
};

}  // namespace sockmi::proxy
