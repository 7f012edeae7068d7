#include "applications/deliveries.h"

#include <algorithm>

#include "base/log.h"

namespace sockmi::daemon {
namespace {

using Clock = std::chrono::steady_clock;

// How long an endpoint is kept from a process that did not take it, and may be able to
// later.
constexpr std::chrono::milliseconds kRedeliveryPause{1000};

// True for what a process lacks only for a while. Any other reason will persist.
bool passes(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM;
}

}  // namespace

Result<Deliveries::Number> Deliveries::begin(std::vector<ReadyEndpoint> those, pid_t process) {
  if (those.empty()) return Number{0};
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < those.size(); ++i) {
    auto token = Token::make();
    if (!token) {
      for (ReadyEndpoint& ready : those)
        queue_.add(std::move(ready));
      return pass(std::move(token));
    }
    tokens.push_back(std::move(*token));
  }
  Delivery& delivery = all_[++last_];
  delivery = {process, Clock::now(), {}};
  for (std::size_t i = 0; i < those.size(); ++i)
    delivery.those.push_back({std::move(those[i]), std::move(tokens[i])});
  return last_;
}

std::span<const Deliveries::Handed> Deliveries::handed(Number delivery) const {
  const auto it = all_.find(delivery);
  return it == all_.end() ? std::span<const Handed>() : it->second.those;
}

bool Deliveries::taken(Number delivery, const wire::MigrationId& id) {
  const auto it = all_.find(delivery);
  if (it == all_.end() ||
      !std::erase_if(it->second.those, [&](const Handed& handed) { return handed.ready.id == id; }))
    return false;
  has_taken(id);
  return true;
}

void Deliveries::failed(Number delivery, const wire::MigrationId& id, const Error& why) {
  const auto it = all_.find(delivery);
  if (it == all_.end()) return;
  auto& those = it->second.those;
  const auto found =
      std::ranges::find(those, id, [](const Handed& handed) { return handed.ready.id; });
  if (found == those.end()) return;
  Handed handed = std::move(*found);
  those.erase(found);
  log::warn("delivery_rejected",
            {{"connection", handed.ready.tuple}, {"pid", it->second.process}, {"error", why}});
  give_back(std::move(handed), it->second.process, !passes(why.code));
}

void Deliveries::end(Number delivery) {
  auto node = all_.extract(delivery);
  if (node.empty()) return;
  for (auto& handed : node.mapped().those)
    give_back(std::move(handed), node.mapped().process, false);
}

void Deliveries::take_back(Clock::time_point began_before) {
  std::vector<Number> late;
  for (const auto& [number, delivery] : all_)
    if (delivery.began < began_before) late.push_back(number);
  for (const Number number : late) {
    for (Handed& handed : all_[number].those) {
      if (handed.token.take()) {
        log::warn("delivery_expired", {{"connection", handed.ready.tuple},
                                       {"pid", all_[number].process},
                                       {"reason", "the application has not confirmed it"}});
      }
    }
    end(number);
  }
}

void Deliveries::has_taken(const wire::MigrationId& id) {
  if (on_taken_) on_taken_(id);
  queue_.release(id);
}

void Deliveries::give_back(Handed handed, pid_t process, bool for_ever) {
  auto& [ready, token] = handed;
  if (!token.take()) return has_taken(ready.id);
  ++ready.came_back;
  ready.kept_from[process] = for_ever ? Clock::time_point::max() : Clock::now() + kRedeliveryPause;
  queue_.add(std::move(ready));
}

}  // namespace sockmi::daemon
