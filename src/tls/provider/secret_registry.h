// What the provider sees and the rest of this room wants to know: the secrets of connections, and the cipher contexts that work with them.
//
// libssl tells a provider nothing of connections. They are recognised by their secrets. TLS 1.3: application traffic, exporter and resumption
// secrets that are derived from one master secret belong together; the key that is derived from a traffic secret leads, right after, to the cipher
// context that is given the key; a KeyUpdate derives the next secret from one that is known. TLS 1.2: keys follow from what SSL and SSL_SESSION
// give out, and lead to the context that works with them. A connection lives as long as a cipher context of it.
//
// A process may have very many: a table by hash, whose keys are the secrets' own bytes; nothing is searched, and little is held for each.
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

// TLS 1.3 only. Both ends of a connection may be in this process, and share it.
struct Connection : std::enable_shared_from_this<Connection> {
  Key client, server, exporter, resumption;                   // traffic secrets of the first generation after the handshake, or the load
  std::array<std::array<CipherContext*, 2>, 2> contexts{};    // [with the client's secrets][encrypting]
  Tag master;                                                 // while not all are known
  static std::shared_ptr<Connection> make() { return std::allocate_shared<Connection>(SecretAllocator<Connection>()); }
  ~Connection();
};

// Record numbers.
struct Sequence {
  std::uint64_t count = 0;   // as libssl counts them: that of the next record
  std::uint64_t offset = 0;  // what has to be added since this endpoint was not born here
  std::uint64_t next() const { return count + offset; }
};

// The HMAC of one direction of a TLS 1.2 CBC connection. libssl makes a copy of its context for every record: all copies share this.
struct MacState {
  MacContext* origin = nullptr;  // the context that is copied
  Sequence sequence;
  bool application_data = false;  // of the last record: its type
};

struct CipherContext {
  static void* operator new(std::size_t size) { return secret_alloc(size); }
  static void operator delete(void* context, std::size_t size) { secret_free(context, size); }

  const CipherTable* table = nullptr;
  void* inner = nullptr;     // the default provider's context; null: the endpoint was exported, its keys are gone
  bool encrypting = false;
  bool shadow = false;       // of a rehearsal's throw-away side, which nobody will look for
  bool client = false;       // TLS 1.3: it works with the client's secrets
  Key secret;                // TLS 1.3: the traffic secret; TLS 1.2: the key
  bool has_static_iv = false;
  std::array<std::uint8_t, 12> static_iv{};
  Sequence own;
  bool tls12 = false;
  std::size_t mac_size = 0;  // CBC: 0 is encrypt-then-MAC (RFC 7366)
  std::array<std::uint8_t, 8> explicit_nonce{};
  std::size_t call_plaintext = 0;  // see call_sent()
  std::shared_ptr<MacState> mac;   // CBC without a stitched HMAC: it counts
  std::shared_ptr<Connection> connection;
  Sequence& sequence() { return mac ? mac->sequence : own; }
  void note_plaintext(std::size_t size);
  // How many bytes of the application's the SSL_write that is under way, or was last, has put into records.
  std::size_t call_sent() const { return mac && !mac->application_data ? 0 : call_plaintext; }
};

class Registry {
 public:
  static Registry& get();

  // --- called by the provider ---
  void derived(ByteView from, std::string_view label, ByteView out);  // an HKDF-Expand-Label of TLS 1.3
  // The next key that this thread derives will be of this secret of one of these; of none: nothing is expected any more.
  void expect(std::vector<std::shared_ptr<Connection>> connections, bool client, ByteView secret);
  void keyed(CipherContext& context, ByteView key);                     // TLS 1.3: has a new key
  void working(CipherContext& context);                                 // TLS 1.2: has a first record
  void gone(CipherContext& context);

  // --- called by capture and rehearsal ---
  std::shared_ptr<Connection> by_exporter(ByteView exporter, bool server);
  void add(const std::shared_ptr<Connection>& connection);
  // The context that works with this key. An SSL and another that was loaded from its image may both be alive: `known`, if it is one of them.
  CipherContext* by_key(bool encrypting, ByteView key, const CipherContext* known = nullptr);
  // The cipher context that works with the client's or the server's traffic secret now, and that secret.
  struct Current {
    CipherContext* context = nullptr;
    Secret secret;
  };
  Current current(const Connection& connection, bool client, bool encrypting);
  // TLS 1.2 after a rehearsal: libssl hashes the rehearsal's random where the peer knows the real one.
  void substitute(const Secret& local, const Secret& real);
  void end_substitution(const Secret& local);
  bool substitutes() const { return substitutions_count_.load(std::memory_order_relaxed) > 0; }
  void apply_substitutions(Secret& seed);

  std::size_t entries();  // for tests: how much is known

 private:
  friend struct Connection;
  template <class Value>
  using Table = std::unordered_multimap<Tag, Value, Tag::Hash, std::equal_to<>, SecretAllocator<std::pair<const Tag, Value>>>;
  struct Known {
    Connection* connection;
    bool client;
    std::uint32_t users;  // contexts that work with it
  };
  std::shared_ptr<Connection> connection_of(ByteView master, ByteView secret);
  void forget(Connection& connection);
  Table<Known>::iterator find(Tag tag, const Connection& connection);
  std::mutex mutex_;
  Table<std::weak_ptr<Connection>> by_master_;  // those whose handshake is not finished
  Table<Known> by_secret_;                      // traffic secrets in use, and exporter secrets
  Table<CipherContext*> by_key_;                // TLS 1.2
  std::map<Secret, Secret> substitutions_;
  std::atomic<std::size_t> substitutions_count_{0};
};

// TLS 1.2: verify_data of both sides (RFC 5246, 7.4.9).
struct Finished {
  Secret client, server;
};

// What is under way on this thread, and how the provider is to behave meanwhile.
struct Scope {
  bool probing = false;                        // remember the first secret that something is derived from
  Secret probed;
  std::shared_ptr<Connection> inject;          // TLS 1.3: answer the target's derivations with these secrets
  bool inject_shadow = false;                  // and the shadow's
  const Finished* inject_finished = nullptr;   // TLS 1.2: answer both with these
  bool shadow = false;                         // it is the throw-away side's turn
  std::vector<CipherContext*> contexts;        // the target's, that were made and are alive
  Scope() : outer_(std::exchange(current_, this)) {}
  ~Scope() { current_ = outer_; }
  Scope(const Scope&) = delete;
  static Scope* current() { return current_; }

 private:
  Scope* outer_;
  static thread_local Scope* current_;
};

}  // namespace sockmi::tls
