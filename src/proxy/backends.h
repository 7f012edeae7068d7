// The backends of a service, and which one a client gets: of those that seem to work, the
// one with the fewest connections, or the one that its address selects. If none does, one
// that has failed is tried before those that the health checks have found down. Addresses
// select by rendezvous hashing: a backend that comes or goes changes no choice among the
// others.
//
// Used by all threads. A backend object lives on over a change of the configuration that
// does not concern it, so that its count remains right.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "proxy/config.h"

namespace sockmi::proxy {

// A backend that has failed is avoided for this long, if there are others.
inline constexpr std::chrono::milliseconds kAvoidFailed{2000};

class Backend {
 public:
  Backend(std::string service_name, std::string backend_name, BackendConfig config)
      : service(std::move(service_name)),
        name(std::move(backend_name)),
        config(std::move(config)) {
    if (!this->config.address.is_name()) address_ = this->config.address.fixed;
  }

  // Takes one of the backend's connections; false: there are max_connections.
  bool acquire();
  // Counts a connection that is there already.
  void count() { connections_.fetch_add(1, std::memory_order_relaxed); }
  void release() { connections_.fetch_sub(1, std::memory_order_relaxed); }
  std::uint32_t connections() const { return connections_.load(std::memory_order_relaxed); }

  // Says whether the last attempt to use it has failed. Returns whether that is news.
  bool set_failed(bool failed);
  bool avoided() const;

  // Where it is now. Errors: EAGAIN if its name was not looked up yet; that of the
  // look-up if no one has succeeded.
  Result<StreamAddress> address() const;
  enum class Lookup { Same, Changed, Failed };
  // Says how a look-up of its name has ended. The present address remains if it is one of
  // those that were found, or if none was. Returns Failed for the first one in a row.
  Lookup note_lookup(const Result<std::vector<IpAddress>>& found);

  // Says how a health check has ended. Returns whether the backend is up or down since
  // then. In one thread only.
  bool note_check(bool good, const CheckConfig& checks);
  // It is up, like every backend that is not checked. In the same thread.
  void forget_checks();
  bool is_down() const { return down_.load(std::memory_order_relaxed); }

  const std::string service, name;
  const BackendConfig config;

 private:
  std::atomic<std::uint32_t> connections_{0};
  std::atomic<std::int64_t> failed_until_{0};  // steady clock, ns; 0: works
  std::atomic<bool> down_{false};
  mutable std::mutex mutex_;  // of the address
  Result<StreamAddress> address_ = fail(EAGAIN, "the name was not looked up yet");
  bool lookup_failed_ = false;
  unsigned contrary_checks_ = 0;  // in a row, that say the opposite of `down_`
};

// One connection of a backend's count.
class BackendSlot {
 public:
  BackendSlot() = default;
  explicit BackendSlot(std::shared_ptr<Backend> taken) : backend_(std::move(taken)) {}
  BackendSlot(BackendSlot&&) = default;
  BackendSlot& operator=(BackendSlot&& other) noexcept {
    std::swap(backend_, other.backend_);
    return *this;
  }
  ~BackendSlot() {
    if (backend_) backend_->release();
  }
  explicit operator bool() const { return backend_ != nullptr; }
  Backend& operator*() const { return *backend_; }
  Backend* operator->() const { return backend_.get(); }

 private:
  std::shared_ptr<Backend> backend_;
};

using Backends = std::vector<std::shared_ptr<Backend>>;

// Chooses a backend that is not among those tried, and takes one of its connections; none
// if there is no such backend, or all have as many connections as they may. `client`: its
// address selects the backend; nullptr: the number of connections does.
BackendSlot choose(const Backends& backends, const std::vector<const Backend*>& tried,
                   const IpAddress* client);

}  // namespace sockmi::proxy
