#include "drain/spread.h"

#include <algorithm>

namespace sockmi::daemon {
namespace {

bool is_willing(const Spread::Host& host, Spread::Clock::time_point now) {
  return host.refusal.empty() && host.free > 0 && host.absent_until <= now;
}

double weight_of(const cluster::OfferReply& reply) {
  return reply.free_slots / (1.0 + reply.load_percent / 100.0);
}

}  // namespace

void Spread::update(const std::vector<cluster::HostAnswer>& answers,
                    const std::vector<std::string>& only) {
  for (auto& [name, host] : hosts_)
    host.refusal = "it does not answer";
  for (const cluster::HostAnswer& answer : answers) {
    const std::string& name = answer.host.host;
    if (!only.empty() && std::ranges::find(only, name) == only.end()) continue;
    Host& host = hosts_[name];
    host.address = answer.host.control_address.ip;
    host.refusal = answer.acceptable ? "" : answer.acceptable.error().reason;
    host.free = answer.acceptable ? answer.reply.free_slots : 0;
    host.weight = weight_of(answer.reply);
  }
}

std::string Spread::next(const std::set<std::string>& except, Clock::time_point now) {
  std::pair<const std::string, Host>* best = nullptr;
  double total = 0;
  for (auto& each : hosts_) {
    if (!is_willing(each.second, now) || except.contains(each.first)) continue;
    each.second.turn += each.second.weight;
    total += each.second.weight;
    if (!best || each.second.turn > best->second.turn) best = &each;
  }
  if (!best) return "";
  best->second.turn -= total;
  --best->second.free;
  return best->first;
}

bool Spread::has(const std::set<std::string>& except, Clock::time_point now) const {
  return std::ranges::any_of(hosts_, [&](const auto& each) {
    return is_willing(each.second, now) && !except.contains(each.first);
  });
}

void Spread::failed(const std::string& name, const std::string& reason, Clock::time_point now) {
  const auto host = hosts_.find(name);
  if (host == hosts_.end()) return;
  host->second.absent_until =
      now + std::min(kLongestAbsence, kFirstAbsence * (1 << std::min(host->second.failures, 5u)));
  ++host->second.failures;
  host->second.failure = reason;
}

void Spread::succeeded(const std::string& name) {
  if (const auto host = hosts_.find(name); host != hosts_.end()) {
    host->second.failures = 0;
    host->second.failure.clear();
  }
}

std::string Spread::refusals() const {
  std::string out;
  for (const auto& [name, host] : hosts_) {
    const std::string& why = host.refusal.empty() ? host.failure : host.refusal;
    if (!why.empty()) out += (out.empty() ? "" : "; ") + name + ": " + why;
  }
  return out.empty() ? "no host has answered" : out;
}

std::map<std::string, double> Spread::shares(Clock::time_point now) const {
  std::map<std::string, double> out;
  double total = 0;
  for (const auto& [name, host] : hosts_)
    if (is_willing(host, now)) total += out[name] = host.weight;
  for (auto& [name, share] : out)
    share /= total;
  return out;
}

}  // namespace sockmi::daemon
