// Registry of what the provider sees and the rest of this module needs: the secrets of
// connections, and the cipher contexts that use them.
//
// libssl gives a provider no information about connections, so they are recognized by
// their secrets.
//
// TLS 1.3: application traffic, exporter and resumption secrets that are derived from one
// master secret belong to one connection. The key derived from a traffic secret leads to
// the cipher context: libssl gives it that key directly afterwards. A KeyUpdate derives
// the next secret from a known one.
//
// TLS 1.2: the keys can be computed from what SSL and SSL_SESSION return, and a key leads
// to the context that uses it.
//
// A connection lives as long as any of its cipher contexts. A process may have very many
// connections, so the tables are hash tables, with the secrets' own bytes as hashes.
// Nothing is searched linearly, and little is stored per connection.
#pragma once

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/secret.h"
#include "tls/provider/key.h"

namespace sockmi::tls {

struct CipherContext;
struct CipherTable;
struct MacContext;

// The secrets of a TLS 1.3 connection. If both ends of a connection are in this process,
// they share the object.
struct Connection : std::enable_shared_from_this<Connection> {
  // The traffic secrets are of the first generation after the handshake or the load.
  Key client, server, exporter, resumption;
  // Indices: [with the client's secrets][encrypting].
  std::array<std::array<CipherContext*, 2>, 2> contexts{};
  Tag master;  // while not all secrets are known
  static std::shared_ptr<Connection> make() {
    return std::allocate_shared<Connection>(SecretAllocator<Connection>());
  }
  ~Connection();
};

// Record sequence numbers.
struct Sequence {
  std::uint64_t count = 0;   // the next record's number as libssl counts
  std::uint64_t offset = 0;  // added to give the real number; 0 unless loaded here
  std::uint64_t next() const { return count + offset; }
};

// The HMAC of one direction of a TLS 1.2 CBC connection. libssl copies the HMAC context
// for every record; all copies share this state.
struct MacState {
  MacContext* origin = nullptr;  // the context that is copied
  Sequence sequence;
  bool application_data = false;  // type of the last record
};

struct CipherContext {
  static void* operator new(std::size_t size) { return secret_alloc(size); }
  static void operator delete(void* context, std::size_t size) { secret_free(context, size); }

  const CipherTable* table = nullptr;
  void* inner = nullptr;  // the default provider's; null: endpoint exported, keys wiped
  bool encrypting = false;
  bool dummy = false;   // of a handshake replay's dummy peer: not in the registry
  bool client = false;  // TLS 1.3: it uses the client's secrets
  Key secret;           // TLS 1.3: the traffic secret; TLS 1.2: the key
  bool has_static_iv = false;
  std::array<std::uint8_t, 12> static_iv{};
  Sequence own;
  bool tls12 = false;
  std::size_t mac_size = 0;  // CBC: 0 is encrypt-then-MAC (RFC 7366)
  std::array<std::uint8_t, 8> explicit_nonce{};
  std::size_t call_plaintext = 0;  // see call_sent()
  std::shared_ptr<MacState> mac;   // CBC with a separate HMAC, which counts records
  std::shared_ptr<Connection> connection;
  Sequence& sequence() { return mac ? mac->sequence : own; }
  void note_plaintext(std::size_t size);
  // Returns how many of the application's bytes the current SSL_write, or the last one,
  // has put into records.
  std::size_t call_sent() const { return mac && !mac->application_data ? 0 : call_plaintext; }
};

class Registry {
 public:
  static Registry& get();

  // --- called by the provider ---
  // An HKDF-Expand-Label of TLS 1.3.
  void derived(ByteView from, std::string_view label, ByteView out);
  // Announces that the next key that this thread derives belongs to `secret` of one of
  // `connections`. An empty vector cancels the announcement.
  void expect(std::vector<std::shared_ptr<Connection>> connections, bool client, ByteView secret);
  void keyed(CipherContext& context, ByteView key);  // TLS 1.3: the context has a new key
  void working(CipherContext& context);              // TLS 1.2: the context gets its first record
  void gone(CipherContext& context);

  // --- called by save() and the handshake replay ---
  std::shared_ptr<Connection> by_exporter(ByteView exporter, bool server);
  void add(const std::shared_ptr<Connection>& connection);
  // Returns the context that uses this key. An SSL and another one that was loaded from
  // its image may exist together and use the same key: in that case `known` is preferred
  // if it is one of them.
  CipherContext* by_key(bool encrypting, ByteView key, const CipherContext* known = nullptr);
  // The cipher context that currently uses the client's or the server's traffic secret,
  // and that secret.
  struct Current {
    CipherContext* context = nullptr;
    Secret secret;
  };
  Current current(const Connection& connection, bool client, bool encrypting);
  // TLS 1.2 after a handshake replay: libssl uses the replay's random where the peer uses
  // the real one. substitute() makes the provider replace it in seeds.
  void substitute(const Secret& local, const Secret& real);
  void end_substitution(const Secret& local);
  bool substitutes() const { return substitutions_count_.load(std::memory_order_relaxed) > 0; }
  void apply_substitutions(Secret& seed);

  std::size_t entries();  // for tests: number of entries

 private:
  friend struct Connection;
  template <class Value>
  using Table = std::unordered_multimap<Tag, Value, Tag::Hash, std::equal_to<>,
                                        SecretAllocator<std::pair<const Tag, Value>>>;
  struct Known {
    Connection* connection;
    bool client;
    std::uint32_t users;  // contexts that use it
  };
  std::shared_ptr<Connection> connection_of(ByteView master, ByteView secret);
  void forget(Connection& connection);
  Table<Known>::iterator find(Tag tag, const Connection& connection);
  std::mutex mutex_;
  Table<std::weak_ptr<Connection>> by_master_;  // connections in their handshake
  Table<Known> by_secret_;                      // traffic secrets in use, and exporter secrets
  Table<CipherContext*> by_key_;                // TLS 1.2
  std::map<Secret, Secret> substitutions_;
  std::atomic<std::size_t> substitutions_count_{0};
};

// TLS 1.2: verify_data of both sides (RFC 5246, 7.4.9).
struct Finished {
  Secret client, server;
};

// What this thread is doing with an SSL, and how the provider behaves during it.
struct Scope {
  bool probing = false;  // record the first secret that a key is derived from
  Secret probed;
  std::shared_ptr<Connection> inject;         // TLS 1.3: secrets to return to the target
  bool inject_into_dummy = false;             // and to the dummy peer
  const Finished* inject_finished = nullptr;  // TLS 1.2: to return to both
  bool dummy = false;                         // the dummy peer is running
  std::vector<CipherContext*> contexts;       // the target's contexts that exist
  Scope() : outer_(std::exchange(current_, this)) {}
  ~Scope() { current_ = outer_; }
  Scope(const Scope&) = delete;
  static Scope* current() { return current_; }

 private:
  Scope* outer_;
  static thread_local Scope* current_;
};

}  // namespace sockmi::tls
