// What the provider sees and the rest of this room wants to know: the secrets of connections, and the cipher contexts that work with them.
//
// libssl tells a provider nothing of connections. They are recognised by their secrets: application traffic, exporter and resumption
// secrets that are derived from one master secret belong together; a key that is derived from a traffic secret leads the cipher
// context that is given the key to the connection. A connection lives as long as a cipher context of it.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "base/secret.h"

namespace sockmi::tls {

struct CipherTable;

// TLS 1.3 only: TLS 1.2 keys follow from what SSL_SESSION and SSL give out.
struct Connection {
  Secret client, server, exporter, resumption;  // traffic secrets of the first generation after the handshake, or the load
  std::vector<Secret> generations;              // all traffic secrets by which it is found
  Secret master;
  ~Connection();
};

struct CipherContext {
  const CipherTable* table = nullptr;
  void* inner = nullptr;     // the default provider's context; null: the endpoint was exported, its keys are gone
  bool encrypting = false;
  Secret key;
  bool has_static_iv = false;
  std::array<std::uint8_t, 12> static_iv{};
  std::uint64_t count = 0;   // records as libssl counts them
  std::uint64_t offset = 0;  // what has to be added since this endpoint was not born here
  bool tls12 = false;
  std::array<std::uint8_t, 8> explicit_nonce{};
  std::shared_ptr<Connection> connection;
  std::uint64_t next() const { return count + offset; }
};

class Registry {
 public:
  static Registry& get();

  // --- called by the provider ---
  void derived(const Secret& from, std::string_view label, const Secret& out);  // an HKDF-Expand-Label of TLS 1.3
  void keyed(CipherContext& context);                                          // has a new key
  void gone(CipherContext& context);

  // --- called by capture and rehearsal ---
  std::shared_ptr<Connection> by_exporter(const Secret& exporter);
  void add(const std::shared_ptr<Connection>& connection);
  CipherContext* by_key(bool encrypting, const Secret& key);
  // TLS 1.2 after a rehearsal: libssl hashes the rehearsal's random where the peer knows the real one.
  void substitute(const Secret& local, const Secret& real);
  void end_substitution(const Secret& local);
  bool substitutes() const { return substitutions_count_.load(std::memory_order_relaxed) > 0; }
  void apply_substitutions(Secret& seed);

  std::size_t contexts();      // for tests: how many keys, and connections, are known
  std::size_t connections();

 private:
  friend struct Connection;
  void forget(Connection& connection);
  std::mutex mutex_;
  std::map<std::pair<bool, Secret>, CipherContext*> by_key_;
  std::map<Secret, std::weak_ptr<Connection>> by_master_, by_exporter_, by_secret_;
  std::map<Secret, std::shared_ptr<Connection>> key_to_come_;  // derived, not yet given to a cipher context
  std::map<Secret, Secret> substitutions_;
  std::atomic<std::size_t> substitutions_count_{0};
};

// What is under way on this thread, and how the provider is to behave meanwhile.
struct Scope {
  bool probing = false;                        // remember the first secret that something is derived from
  Secret probed;
  std::shared_ptr<Connection> inject;          // answer derivations with these secrets
  std::vector<CipherContext*> contexts;        // that were made, and are alive
  Scope() : outer_(std::exchange(current_, this)) {}
  ~Scope() { current_ = outer_; }
  Scope(const Scope&) = delete;
  static Scope* current() { return current_; }

 private:
  Scope* outer_;
  static thread_local Scope* current_;
};

}  // namespace sockmi::tls
