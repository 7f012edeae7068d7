#include "tls/provider/secret_registry.h"

#include <algorithm>

namespace sockmi::tls {
namespace {

// Links a traffic secret to the key that is derived from it, and to the context that is
// given the key. libssl does these three steps one directly after another on one thread.
struct Expected {
  static void* operator new(std::size_t size) { return secret_alloc(size); }
  static void operator delete(void* expected, std::size_t size) { secret_free(expected, size); }
  // Several if both ends of a connection are in this process and one of them was loaded.
  std::vector<std::shared_ptr<Connection>> of;
  bool client = false;
  Key secret, key;
};
thread_local std::unique_ptr<Expected> expected;  // null: none

// Returns true if this end of the connection already has a context for the opposite
// direction.
bool has_end(const Connection& connection, bool client, bool encrypting) {
  return connection.contexts[!client][!encrypting] != nullptr;
}

Key Connection::*secret_of(std::string_view label) {
  if (label == "c ap traffic") return &Connection::client;
  if (label == "s ap traffic") return &Connection::server;
  if (label == "exp master") return &Connection::exporter;
  if (label == "res master") return &Connection::resumption;
  return nullptr;
}

}  // namespace

thread_local Scope* Scope::current_ = nullptr;

Registry& Registry::get() {
  static auto* registry = new Registry;  // never destroyed: OpenSSL frees objects at exit
  return *registry;
}

Connection::~Connection() {
  Registry::get().forget(*this);
}

void Registry::forget(Connection& connection) {
  std::lock_guard lock(mutex_);
  if (const auto it = find(Tag(connection.exporter.view()), connection); it != by_secret_.end())
    by_secret_.erase(it);
  const auto [first, last] = by_master_.equal_range(connection.master);
  const auto it =
      std::find_if(first, last, [](const auto& entry) { return entry.second.expired(); });
  if (it != last) by_master_.erase(it);
}

Registry::Table<Registry::Known>::iterator Registry::find(Tag tag, const Connection& connection) {
  const auto [first, last] = by_secret_.equal_range(tag);
  const auto it = std::find_if(
      first, last, [&](const auto& entry) { return entry.second.connection == &connection; });
  return it == last ? by_secret_.end() : it;
}

void Registry::derived(ByteView from, std::string_view label, ByteView out) {
  if (label == "key") {
    if (expected && expected->secret == from) expected->key = Key(out);
    return;
  }
  const auto member = secret_of(label);
  if (!member && label != "traffic upd") return;
  // Destroyed after the lock is released: the destructor of a last owner takes the lock
  // again.
  std::vector<std::shared_ptr<Connection>> connections;
  bool client = label == "c ap traffic";
  {
    std::lock_guard lock(mutex_);
    if (member) {
      connections.push_back(connection_of(from, out));
      Connection& connection = *connections.front();
      if ((connection.*member).empty() && label == "exp master")
        by_secret_.emplace(Tag(out), Known{&connection, false, 0});
      (connection.*member) = Key(out);
      if (!connection.client.empty() && !connection.server.empty() &&
          !connection.exporter.empty() && !connection.resumption.empty())
        by_master_.erase(connection.master);
    } else {
      const auto [first, last] = by_secret_.equal_range(Tag(from));
      for (auto it = first; it != last; client = it++->second.client) {
        if (auto connection = it->second.connection->weak_from_this().lock())
          connections.push_back(std::move(connection));
      }
    }
  }
  if (label != "exp master" && label != "res master") expect(std::move(connections), client, out);
}

// Returns the connection that a secret belongs to, or makes one. If the connection's
// other end is in this process and has derived the secret already, its connection is
// returned.
std::shared_ptr<Connection> Registry::connection_of(ByteView master, ByteView secret) {
  std::shared_ptr<Connection> connection;
  if (const auto it = by_secret_.find(Tag(secret)); it != by_secret_.end())
    connection = it->second.connection->weak_from_this().lock();
  if (const auto it = by_master_.find(Tag(master)); !connection && it != by_master_.end())
    connection = it->second.lock();
  if (connection) return connection;
  connection = Connection::make();
  connection->master = Tag(master);
  by_master_.emplace(connection->master, connection);
  return connection;
}

void Registry::expect(std::vector<std::shared_ptr<Connection>> connections, bool client,
                      ByteView secret) {
  expected.reset();
  if (connections.empty()) return;
  expected.reset(new Expected{
      .of = std::move(connections), .client = client, .secret = Key(secret), .key = Key()});
}

void Registry::keyed(CipherContext& context, ByteView key) {
  context.secret = Key(key);
  if (context.dummy || !expected || !(expected->key == key)) return;
  const std::unique_ptr<Expected> own = std::move(expected);
  context.client = own->client;
  context.secret = own->secret;
  const Tag tag(context.secret.view());
  std::lock_guard lock(mutex_);
  const auto of_this_end = std::ranges::find_if(own->of, [&](const auto& each) {
    return has_end(*each, context.client, context.encrypting);
  });
  context.connection = of_this_end == own->of.end() ? own->of.front() : *of_this_end;
  Connection& connection = *context.connection;
  connection.contexts[context.client][context.encrypting] = &context;
  auto it = find(tag, connection);
  if (it == by_secret_.end()) it = by_secret_.emplace(tag, Known{&connection, context.client, 0});
  ++it->second.users;
}

void Registry::working(CipherContext& context) {
  if (context.dummy) return;
  std::lock_guard lock(mutex_);
  by_key_.emplace(Tag(context.secret.view(), context.encrypting), &context);
}

void Registry::gone(CipherContext& context) {
  if (!context.connection && !context.tls12) return;
  const std::shared_ptr<Connection> connection = std::exchange(context.connection, nullptr);
  std::lock_guard lock(mutex_);
  if (connection) {
    auto& current = connection->contexts[context.client][context.encrypting];
    if (current == &context) current = nullptr;
    const auto it = find(Tag(context.secret.view()), *connection);
    if (it != by_secret_.end() && --it->second.users == 0) by_secret_.erase(it);
    return;
  }
  const auto [first, last] = by_key_.equal_range(Tag(context.secret.view(), context.encrypting));
  const auto it =
      std::find_if(first, last, [&](const auto& entry) { return entry.second == &context; });
  if (it != last) by_key_.erase(it);
}

std::shared_ptr<Connection> Registry::by_exporter(ByteView exporter, bool server) {
  std::lock_guard lock(mutex_);
  const auto [first, last] = by_secret_.equal_range(Tag(exporter));
  const auto it = std::find_if(first, last, [&](const auto& entry) {
    const auto& contexts = entry.second.connection->contexts;
    return contexts[!server][true] && contexts[server][false];
  });
  return it == last ? nullptr : it->second.connection->weak_from_this().lock();
}

void Registry::add(const std::shared_ptr<Connection>& connection) {
  std::lock_guard lock(mutex_);
  by_secret_.emplace(Tag(connection->exporter.view()), Known{connection.get(), false, 0});
}

Registry::Current Registry::current(const Connection& connection, bool client, bool encrypting) {
  std::lock_guard lock(mutex_);
  CipherContext* context = connection.contexts[client][encrypting];
  if (!context) return {};
  const ByteView secret = context->secret.view();
  return {context, Secret(secret.begin(), secret.end())};
}

CipherContext* Registry::by_key(bool encrypting, ByteView key, const CipherContext* known) {
  std::lock_guard lock(mutex_);
  CipherContext* found = nullptr;
  const auto [first, last] = by_key_.equal_range(Tag(key, encrypting));
  for (auto it = first; it != last; ++it)
    if (it->second->secret == key && (!found || it->second == known)) found = it->second;
  return found;
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
    const auto it =
        substitutions_.find(Secret(seed.begin() + static_cast<std::ptrdiff_t>(at),
                                   seed.begin() + static_cast<std::ptrdiff_t>(at + kRandom)));
    if (it == substitutions_.end()) continue;
    std::ranges::copy(it->second, seed.begin() + static_cast<std::ptrdiff_t>(at));
    at += kRandom - 1;
  }
}

std::size_t Registry::entries() {
  std::lock_guard lock(mutex_);
  return by_master_.size() + by_secret_.size() + by_key_.size();
}

}  // namespace sockmi::tls
