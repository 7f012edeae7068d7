#include "applications/deliveries.h"

#include <algorithm>

#include "applications/hand_over.h"
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
  std::vector<std::shared_ptr<Token>> tokens;
  for (std::size_t i = 0; i < those.size(); ++i) {
    if (i > 0 && those[i].group != 0 && those[i].group == those[i - 1].group) {
      tokens.push_back(tokens.back());
      continue;
    }
    if (const auto& hand_over = those[i].hand_over) {
      tokens.emplace_back(hand_over, &hand_over->token());
      continue;
    }
    auto token = Token::make();
    if (!token) {
      for (auto& group : by_group(std::move(those)))
        queue_.add(std::move(group));
      return pass(std::move(token));
    }
    tokens.push_back(std::make_shared<Token>(std::move(*token)));
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

// Removes the endpoint with its group, which has the same token.
std::vector<Deliveries::Handed> Deliveries::extract(Delivery& delivery,
                                                    const wire::MigrationId& id) {
  std::vector<Handed> group;
  const auto found =
      std::ranges::find(delivery.those, id, [](const Handed& handed) { return handed.ready.id; });
  if (found == delivery.those.end()) return group;
  const std::shared_ptr<Token> token = found->token;
  for (Handed& handed : delivery.those)
    if (handed.token == token) group.push_back(std::move(handed));
  std::erase_if(delivery.those, [](const Handed& handed) { return !handed.token; });
  return group;
}

bool Deliveries::taken(Number delivery, const wire::MigrationId& id) {
  const auto it = all_.find(delivery);
  if (it == all_.end()) return false;
  auto group = extract(it->second, id);
  if (group.empty()) return false;
  // The exporting process relies on the token, and not on what this one says.
  const auto& hand_over = group.front().ready.hand_over;
  if (hand_over && !hand_over->is_decided()) {
    give_back(std::move(group), it->second.process, false);
    return false;
  }
  has_taken(group);
  return true;
}

void Deliveries::failed(Number delivery, const wire::MigrationId& id, const Error& why) {
  const auto it = all_.find(delivery);
  if (it == all_.end()) return;
  auto group = extract(it->second, id);
  if (group.empty()) return;
  for (const Handed& handed : group)
    log::warn("delivery_rejected",
              {{"connection", handed.ready.tuple}, {"pid", it->second.process}, {"error", why}});
  give_back(std::move(group), it->second.process, !passes(why.code));
}

void Deliveries::end(Number delivery) {
  auto node = all_.extract(delivery);
  if (node.empty()) return;
  while (!node.mapped().those.empty())
    give_back(extract(node.mapped(), node.mapped().those.front().ready.id), node.mapped().process,
              false);
}

void Deliveries::take_back(Clock::time_point began_before) {
  std::vector<Number> late;
  for (const auto& [number, delivery] : all_)
    if (delivery.began < began_before) late.push_back(number);
  for (const Number number : late) {
    for (Handed& handed : all_[number].those) {
      const auto& hand_over = handed.ready.hand_over;
      if (hand_over ? !hand_over->is_decided() : handed.token->take()) {
        log::warn("delivery_expired", {{"connection", handed.ready.tuple},
                                       {"pid", all_[number].process},
                                       {"reason", "the application has not confirmed it"}});
      }
    }
    end(number);
  }
}

void Deliveries::has_taken(const std::vector<Handed>& group) {
  // Its request gives the slots free.
  if (!group.empty() && group.front().ready.hand_over)
    return group.front().ready.hand_over->settle({});
  std::vector<wire::MigrationId> ids;
  ids.reserve(group.size());
  for (const Handed& handed : group)
    ids.push_back(handed.ready.id);
  if (on_taken_ && !ids.empty()) on_taken_(ids);
  for (const auto& id : ids)
    queue_.release(id);
}

void Deliveries::give_back(std::vector<Handed> group, pid_t process, bool for_ever) {
  const auto hand_over = group.front().ready.hand_over;
  if (hand_over ? hand_over->is_decided() : !group.front().token->take()) return has_taken(group);
  if (hand_over && hand_over->is_over()) return;
  std::vector<ReadyEndpoint> back;
  for (auto& [ready, token] : group) {
    ++ready.came_back;
    ready.kept_from[process] =
        for_ever ? Clock::time_point::max() : Clock::now() + kRedeliveryPause;
    back.push_back(std::move(ready));
  }
  queue_.add(std::move(back));
}

}  // namespace sockmi::daemon
