#include "tls/registry.h"

#include <algorithm>

namespace sockmi::tls {
namespace {

constexpr int kGenerations = 16;  // of each side; older ones are of no use: both ends of a connection are at most a few apart

// Keeps a connection alive between the derivation of its secrets and the cipher context that will hold it.
thread_local std::shared_ptr<Connection> latest;

Secret Connection::*secret_of(std::string_view label) {
  if (label == "c ap traffic") return &Connection::client;
  if (label == "s ap traffic") return &Connection::server;
  if (label == "exp master") return &Connection::exporter;
  if (label == "res master") return &Connection::resumption;
  return nullptr;
}

template <class Map>
void erase_expired(Map& map, const Secret& key) {
  const auto it = map.find(key);
  if (it != map.end() && it->second.expired()) map.erase(it);
}

}  // namespace

thread_local Scope* Scope::current_ = nullptr;

Registry& Registry::get() {
  static auto* registry = new Registry;  // outlives everything that OpenSSL frees at exit
  return *registry;
}

Connection::~Connection() { Registry::get().forget(*this); }

void Registry::forget(Connection& connection) {
  std::lock_guard lock(mutex_);
  erase_expired(by_master_, connection.master);
  erase_expired(by_exporter_, connection.exporter);
  for (const auto& generation : connection.generations) erase_expired(by_secret_, generation.secret);
}

void Registry::derived(const Secret& from, std::string_view label, const Secret& out) {
  std::shared_ptr<Connection> keep, replaced;  // dropped after the lock: the last owner's end takes it again
  std::lock_guard lock(mutex_);
  if (const auto member = secret_of(label)) {
    keep = by_master_[from].lock();
    if (!keep) {
      keep = std::make_shared<Connection>();
      keep->master = from;
      by_master_[from] = keep;
    }
    (*keep).*member = out;
    if (label == "exp master") by_exporter_[out] = keep;
    if (label == "c ap traffic" || label == "s ap traffic") {
      keep->generations.push_back({label.front() == 'c', out, {}});
      by_secret_[out] = keep;
    }
    replaced = std::exchange(latest, keep);
    return;
  }
  if (label != "key" && label != "traffic upd") return;
  const auto it = by_secret_.find(from);
  keep = it == by_secret_.end() ? nullptr : it->second.lock();
  if (!keep) return;
  const auto generation = std::ranges::find(keep->generations, from, &Connection::Generation::secret);
  if (generation == keep->generations.end()) return;
  if (label == "key") {
    generation->key = out;
    auto& slot = key_to_come_[out];
    replaced = std::exchange(slot, keep);
    return;
  }
  by_secret_[out] = keep;
  // Both ends of a connection may be in this process, and each derives the same.
  if (std::ranges::find(keep->generations, out, &Connection::Generation::secret) != keep->generations.end()) return;
  const bool client = generation->client;
  keep->generations.push_back({client, out, {}});
  const auto of_this_side = [client](const Connection::Generation& each) { return each.client == client; };
  if (std::ranges::count_if(keep->generations, of_this_side) <= kGenerations) return;
  const auto oldest = std::ranges::find_if(keep->generations, of_this_side);
  by_secret_.erase(oldest->secret);
  keep->generations.erase(oldest);
}

std::shared_ptr<MacState>& Registry::latest_mac() {
  static thread_local std::shared_ptr<MacState> mac;
  return mac;
}

void Registry::keyed(CipherContext& context) {
  if (context.shadow) return;
  std::shared_ptr<Connection> replaced, held;
  std::lock_guard lock(mutex_);
  by_key_.emplace(std::pair(context.encrypting, context.key), &context);
  const auto it = key_to_come_.find(context.key);
  if (it == key_to_come_.end()) return;
  replaced = std::exchange(context.connection, it->second);
  // Both ends of a connection may be in this process, and each will come for the key; what is left is dropped with the connection's end.
  key_to_come_.erase(it);
  if (latest == context.connection) held = std::exchange(latest, nullptr);
}

void Registry::gone(CipherContext& context) {
  std::lock_guard lock(mutex_);
  const auto [first, last] = by_key_.equal_range({context.encrypting, context.key});
  const auto it = std::ranges::find(first, last, &context, [](const auto& entry) { return entry.second; });
  if (it != last) by_key_.erase(it);
}

std::shared_ptr<Connection> Registry::by_exporter(const Secret& exporter) {
  std::lock_guard lock(mutex_);
  const auto it = by_exporter_.find(exporter);
  return it == by_exporter_.end() ? nullptr : it->second.lock();
}

void Registry::add(const std::shared_ptr<Connection>& connection) {
  std::lock_guard lock(mutex_);
  by_exporter_[connection->exporter] = connection;
  for (const bool client : {true, false}) {
    const Secret& secret = client ? connection->client : connection->server;
    connection->generations.push_back({client, secret, {}});
    by_secret_[secret] = connection;
  }
}

Registry::Current Registry::current(const Connection& connection, bool client, bool encrypting) {
  std::lock_guard lock(mutex_);
  for (auto it = connection.generations.rbegin(); it != connection.generations.rend(); ++it) {
    if (it->client != client || it->key.empty()) continue;
    const auto [first, last] = by_key_.equal_range({encrypting, it->key});
    if (first == last) continue;
    const auto own = std::ranges::find(first, last, &connection, [](const auto& entry) { return entry.second->connection.get(); });
    return {own == last ? std::prev(last)->second : own->second, it->secret};
  }
  return {};
}

CipherContext* Registry::by_key(bool encrypting, const Secret& key, const CipherContext* known) {
  std::lock_guard lock(mutex_);
  const auto [first, last] = by_key_.equal_range({encrypting, key});
  if (first == last) return nullptr;
  const auto it = std::ranges::find(first, last, known, [](const auto& entry) { return entry.second; });
  return it == last ? std::prev(last)->second : it->second;
}

void Registry::substitute(const Secret& local, const Secret& real) {
  std::lock_guard lock(mutex_);
  substitutions_[local] = real;
  substitutions_count_ = substitutions_.size();
}

void Registry::end_substitution(const Secret& local) {
  std::lock_guard lock(mutex_);
  substitutions_.erase(local);
  substitutions_count_ = substitutions_.size();
}

void Registry::apply_substitutions(Secret& seed) {
  constexpr std::size_t kRandom = 32;
  std::lock_guard lock(mutex_);
  for (std::size_t at = 0; at + kRandom <= seed.size(); ++at) {
    const auto it = substitutions_.find(Secret(seed.begin() + static_cast<std::ptrdiff_t>(at), seed.begin() + static_cast<std::ptrdiff_t>(at + kRandom)));
    if (it == substitutions_.end()) continue;
    std::ranges::copy(it->second, seed.begin() + static_cast<std::ptrdiff_t>(at));
    at += kRandom - 1;
  }
}

std::size_t Registry::contexts() {
  std::lock_guard lock(mutex_);
  return by_key_.size();
}

std::size_t Registry::connections() {
  std::lock_guard lock(mutex_);
  return std::ranges::count_if(by_exporter_, [](const auto& entry) { return !entry.second.expired(); });
}

}  // namespace sockmi::tls
