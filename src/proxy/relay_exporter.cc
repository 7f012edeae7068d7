#include "proxy/relay_exporter.h"

#include <sockmi/sockmi.h>

#include "base/log.h"

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
  {
    std::lock_guard lock(shared_->mutex);
    shared_->stopping = true;
  }
  shared_->changed.notify_all();
  thread_.join();
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
    if (unknown_.empty()) {
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
    settle_unknown();
    if (order) execute(*order);
    lock.lock();
  }
}

// Has something done in a worker, which calls what `begin` gets when it is done. Returns
// nothing if the proxy stops.
template <class Value, class Begin>
std::optional<Value> RelayExporter::wait_for(Begin begin) {
  const auto value = std::make_shared<std::optional<Value>>();
  begin([value, shared = shared_](Value made) {
    std::lock_guard lock(shared->mutex);
    value->emplace(std::move(made));
    shared->changed.notify_all();
  });
  std::unique_lock lock(shared_->mutex);
  shared_->changed.wait(lock, [&] { return shared_->stopping || value->has_value(); });
  return std::move(*value);
}

void RelayExporter::execute(const ExportOrder& order) {
  Tally tally;
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
  auto taken = wait_for<std::vector<StoppedRelay>>(
      [&](auto done) { worker.take_relays(relays, std::move(done)); });
  if (!taken) return;
  const ExportResult result = export_relays(*taken, target);
  for (const auto& [code, found] : result.errors) {
    auto& [count, reason] = tally.errors[code];
    if (count == 0) reason = found.second;
    count += found.first;
  }
  for (std::size_t i = 0; i < taken->size(); ++i) {
    StoppedRelay& relay = (*taken)[i];
    switch (result.fates[i]) {
      case Fate::Moved: ++tally.moved; break;
      case Fate::Stays:
        ++tally.stayed;
        worker.resume(std::move(relay));
        break;
      case Fate::Unknown:
        ++tally.stayed;
        unknown_.push_back({&worker, std::move(relay)});
        break;
    }
  }
}

void RelayExporter::settle_unknown() {
  std::vector<Unknown> still;
  for (Unknown& each : std::exchange(unknown_, {})) {
    const Fate fate = fate_of(each.relay);
    if (fate == Fate::Unknown) still.push_back(std::move(each));
    if (fate == Fate::Stays) each.worker->resume(std::move(each.relay));
  }
  unknown_ = std::move(still);
}

}  // namespace sockmi::proxy
