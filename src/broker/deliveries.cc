#include "broker/deliveries.h"

#include <algorithm>

#include "base/log.h"

namespace sockmi::broker {
namespace {

using Clock = std::chrono::steady_clock;

// How long an endpoint is kept from a process that did not take it and may be able to later.
constexpr std::chrono::milliseconds kPause{1000};

// What a process lacks for a while; any other reason it will have the next time, too.
bool passes(int error) { return error == EMFILE || error == ENFILE || error == ENOMEM; }

}  // namespace

Deliveries::Number Deliveries::begin(std::vector<Ready> those, pid_t process) {
  if (those.empty()) return 0;
  all_[++last_] = {process, Clock::now(), std::move(those)};
  return last_;
}

bool Deliveries::taken(Number delivery, const image::MigrationId& id) {
  const auto it = all_.find(delivery);
  if (it == all_.end() || !std::erase_if(it->second.those, [&](const Ready& ready) { return ready.id == id; })) return false;
  lists_.release(id);
  return true;
}

void Deliveries::failed(Number delivery, const image::MigrationId& id, const Error& why) {
  const auto it = all_.find(delivery);
  if (it == all_.end()) return;
  auto& those = it->second.those;
  const auto found = std::ranges::find(those, id, &Ready::id);
  if (found == those.end()) return;
  Ready ready = std::move(*found);
  those.erase(found);
  log::warn("event=not_usable connection={} process={} error=\"{}\"", to_string(ready.tuple), it->second.process, to_string(why));
  give_back(std::move(ready), it->second.process, !passes(why.code));
}

void Deliveries::end(Number delivery) {
  auto node = all_.extract(delivery);
  if (node.empty()) return;
  for (auto& ready : node.mapped().those) give_back(std::move(ready), node.mapped().process, false);
}

void Deliveries::take_back(Clock::time_point began_before) {
  std::vector<Number> late;
  for (const auto& [number, delivery] : all_)
    if (delivery.began < began_before) late.push_back(number);
  for (const Number number : late) {
    for (const Ready& ready : all_[number].those)
      log::warn("event=taken_back connection={} process={} reason=\"the application has not said that it has it\"", to_string(ready.tuple), all_[number].process);
    end(number);
  }
}

void Deliveries::give_back(Ready ready, pid_t process, bool for_ever) {
  ++ready.came_back;
  ready.kept_from[process] = for_ever ? Clock::time_point::max() : Clock::now() + kPause;
  lists_.add(std::move(ready));
}

}  // namespace sockmi::broker
