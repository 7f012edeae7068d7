#include "proxy/name_watch.h"

#include <netdb.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "proxy/attempt.h"
#include "proxy/ready.h"

namespace sockmi::proxy {
namespace {

constexpr std::size_t kMostAddresses = 64;  // of a name

struct WatchedName {
  std::shared_ptr<Backend> backend;
  std::chrono::milliseconds interval;
  Clock::time_point due;
};

Error resolver_error(int code) {
  if (code == EAI_SYSTEM) return {errno, fmt::format("cannot look up: {}", strerrordesc_np(errno))};
  return {EHOSTUNREACH, fmt::format("cannot look up: {}", ::gai_strerror(code))};
}

void note_lookup_of(Backend& backend, const Result<std::vector<IpAddress>>& found) {
  const Backend::Lookup result = backend.note_lookup(found);
  const auto where = backend.address();
  switch (result) {
    case Backend::Lookup::Same: return;
    case Backend::Lookup::Changed:
      log::info("backend_address_changed",
                {{"service", backend.service}, {"backend", backend.name}, {"address", *where}});
      return;
    case Backend::Lookup::Failed:
      log::warn(
          "backend_name_failed",
          {{"service", backend.service}, {"backend", backend.name}, {"error", found.error()}});
  }
}

}  // namespace

struct NameWatch::Shared {
  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false;
  std::vector<WatchedName> watched;
};

Result<std::vector<IpAddress>> look_up(const std::string& host) {
  addrinfo hints{}, *list = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  if (const int code = ::getaddrinfo(host.c_str(), nullptr, &hints, &list); code != 0)
    return std::unexpected(resolver_error(code));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(list, ::freeaddrinfo);
  std::vector<IpAddress> addresses;
  for (const addrinfo* each = list; each && addresses.size() < kMostAddresses; each = each->ai_next)
    if (each->ai_family == AF_INET || each->ai_family == AF_INET6)
      addresses.push_back(SocketAddress::from(each->ai_addr).ip);
  if (addresses.empty()) return fail(EHOSTUNREACH, "cannot look up: no address");
  return addresses;
}

NameWatch::NameWatch(LookUp look_up)
    : look_up_(std::move(look_up)),
      shared_(std::make_shared<Shared>()) {}

void NameWatch::use(const Plan& plan) {
  std::vector<WatchedName> watched;
  for (const auto& [name, service] : plan.services)
    for (const auto& backend : service->backends)
      if (backend->config.address.is_name())
        watched.push_back({backend, service->config.resolve_interval, Clock::now()});
  if (!watched.empty() && !started_) {
    std::thread([shared = shared_, look_up = look_up_] { run(shared, look_up); }).detach();
    started_ = true;
  }
  std::lock_guard lock(shared_->mutex);
  shared_->watched = std::move(watched);
  shared_->changed.notify_all();
}

void NameWatch::stop() {
  std::lock_guard lock(shared_->mutex);
  shared_->stopping = true;
  shared_->changed.notify_all();
}

void NameWatch::run(const std::shared_ptr<Shared>& shared, const LookUp& look_up) {
  std::unique_lock lock(shared->mutex);
  while (!shared->stopping) {
    const auto next = std::ranges::min_element(shared->watched, {}, &WatchedName::due);
    if (next == shared->watched.end()) {
      shared->changed.wait(lock);
    } else if (const auto due = next->due; due > Clock::now()) {
      shared->changed.wait_until(lock, due);
    } else {
      next->due = Clock::now() + next->interval;
      const auto backend = next->backend;
      lock.unlock();
      Result<std::vector<IpAddress>> found = fail(ENOMEM, "cannot look up: no memory");
      attempt("look_up_names", [&] { found = look_up(backend->config.address.host); });
      lock.lock();
      if (!shared->stopping) attempt("look_up_names", [&] { note_lookup_of(*backend, found); });
    }
  }
}

}  // namespace sockmi::proxy
