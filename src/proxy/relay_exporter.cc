#include "proxy/relay_exporter.h"

#include <sockmi/sockmi.h>

#include <algorithm>

#include "proxy/attempt.h"

namespace sockmi::proxy {
namespace {

using std::chrono::milliseconds;

// Connections that are still connecting or in their handshake have this much time to
// become relays.
constexpr milliseconds kOpeningTime{3000};
// No event says that a connection is not frozen any more.
constexpr milliseconds kLookAgain{200};
constexpr std::size_t kMaxOrders = 1024;
constexpr unsigned kConnectionsPerRelay = 2;

}  // namespace

RelayExporter::RelayExporter(const Workers& workers)
    : workers_(workers),
      thread_([this] { run(); }) {}

RelayExporter::~RelayExporter() {
  begin_stop();
  thread_.join();
}

void RelayExporter::begin_stop() {
  {
    std::lock_guard lock(shared_->mutex);
    shared_->stopping = true;
  }
  shared_->changed.notify_all();
}

bool RelayExporter::is_stopping() {
  std::lock_guard lock(shared_->mutex);
  return shared_->stopping;
}

bool RelayExporter::add(ExportOrder order) {
  std::lock_guard lock(shared_->mutex);
  if (orders_.size() >= kMaxOrders) return false;
  orders_.push_back(std::move(order));
  shared_->changed.notify_all();
  return true;
}

void RelayExporter::run() {
  std::unique_lock lock(shared_->mutex);
  const auto awake = [this] {
    return shared_->stopping || !orders_.empty();
  };
  while (!shared_->stopping) {
    if (held_.empty()) {
      shared_->changed.wait(lock, awake);
    } else {
      shared_->changed.wait_for(lock, kLookAgain, awake);
    }
    std::optional<ExportOrder> order;
    if (!shared_->stopping && !orders_.empty()) {
      order = std::move(orders_.front());
      orders_.pop_front();
    }
    lock.unlock();
    attempt("settle_relays", [&] { settle_held(); });
    if (order) attempt("export_relays", [&] { execute(*order); });
    lock.lock();
  }
}

// Has something done in a worker, which calls what `begin` gets when it is done. Returns
// nothing if the proxy stops, or if the worker has failed.
template <class Value, class Begin>
std::optional<Value> RelayExporter::wait_for(Begin begin) {
  struct Made {
    std::optional<Value> value;
    bool is_over = false;  // what would set the value is gone
  };
  const auto made = std::make_shared<Made>();
  std::shared_ptr<void> last(nullptr, [made, shared = shared_](void*) {
    std::lock_guard lock(shared->mutex);
    made->is_over = true;
    shared->changed.notify_all();
  });
  begin([made, last = std::move(last), shared = shared_](Value value) {
    std::lock_guard lock(shared->mutex);
    made->value.emplace(std::move(value));
    shared->changed.notify_all();
  });
  std::unique_lock lock(shared_->mutex);
  shared_->changed.wait(lock, [&] { return shared_->stopping || made->value || made->is_over; });
  return std::move(made->value);
}

void RelayExporter::execute(const ExportOrder& order) {
  Tally tally;
  attempt("export_relays", [&] { export_all(order, tally); });
  if (!is_stopping()) answer(order, tally);
}

void RelayExporter::export_all(const ExportOrder& order, Tally& tally) {
  const auto deadline = Clock::now() + kOpeningTime;
  for (const auto& worker : workers_) {
    const auto found = wait_for<Worker::Found>(
        [&](auto done) { worker->find_relays(order.which, deadline, std::move(done)); });
    if (!found) return;
    if (found->opening > 0) {
      tally.stayed += found->opening;
      auto& [count, reason] = tally.errors[EAGAIN];
      count += found->opening;
      reason = "still connecting, or in its handshake";
    }
    for (std::size_t at = 0; at < found->relays.size(); at += kMaxRelaysPerExport) {
      const auto end = std::min(at + kMaxRelaysPerExport, found->relays.size());
      export_from(*worker, {found->relays.begin() + at, found->relays.begin() + end}, order.target,
                  tally);
    }
  }
}

void RelayExporter::answer(const ExportOrder& order, const Tally& tally) {
  const auto& service = order.target.service;
  if (tally.moved > 0) log::info("relays_exported", {{"service", service}, {"count", tally.moved}});
  for (const auto& [code, found] : tally.errors) {
    log::warn("relays_not_exported",
              {{"service", service}, {"count", found.first}, {"error", found.second}});
  }
  if (sockmi_export_done(order.request, kConnectionsPerRelay * static_cast<unsigned>(tally.moved),
                         kConnectionsPerRelay * static_cast<unsigned>(tally.stayed)) != 0)
    log::warn("export_not_answered", {{"service", service}, {"error", sockmi_last_error()}});
}

void RelayExporter::export_from(Worker& worker, const Worker::Relays& relays,
                                const ExportTarget& target, Tally& tally) {
  // From here on nothing throws until all that was taken is held.
  held_.reserve(held_.size() + relays.size());
  const auto batch = std::make_shared<std::vector<StoppedRelay>>();
  auto taken = wait_for<std::vector<StoppedRelay>>(
      [&](auto done) { worker.take_relays(relays, std::move(done)); });
  if (!taken) return;
  batch->swap(*taken);
  const std::size_t first = held_.size();
  for (StoppedRelay& relay : *batch)
    held_.push_back({&worker, {batch, &relay}});
  tally.stayed += batch->size();  // until it has moved

  const ExportResult result = export_relays(*batch, target);
  const auto moved = static_cast<std::size_t>(std::ranges::count(result.fates, Fate::Moved));
  tally.moved += moved;
  tally.stayed -= moved;
  auto fate = result.fates.begin();
  const auto left = std::remove_if(held_.begin() + static_cast<std::ptrdiff_t>(first), held_.end(),
                                   [&](const Held& held) { return settle(held, *fate++); });
  held_.erase(left, held_.end());
  for (const auto& [code, found] : result.errors) {
    auto& [count, reason] = tally.errors[code];
    if (count == 0) reason = found.second;
    count += found.first;
  }
}

// Does what the fate means for a relay. Returns false if the relay has to be held on.
bool RelayExporter::settle(const Held& held, Fate fate) {
  switch (fate) {
    case Fate::Unknown: return false;
    case Fate::Stays: return attempt("resume_relay", [&] { held.worker->resume(held.relay); });
    case Fate::Moved: const StoppedRelay gone(std::move(*held.relay)); return true;
  }
  return false;
}

void RelayExporter::settle_held() {
  std::erase_if(held_, [](const Held& held) { return settle(held, fate_of(*held.relay)); });
}

}  // namespace sockmi::proxy
