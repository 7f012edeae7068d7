// Knows which connection lives where, and is the only writer of the journal.
//
// Invariants:
// - What is in the journal is in memory, and the reverse: one call changes both. So a
//   daemon that is killed after any call leaves what the next daemon needs. The
//   exceptions are stated at set_aside() and add_imported().
// - A fact that can be refused (a decision, a thaw) is in memory only after the journal
//   has it. All other facts are true whether the disk takes them or not (journal.h).
// - A connection whose home is here is in the journal only while it lives elsewhere.
// - Only a connection in remote() can be unheard.
//
// The table knows no kernel and no other host. Its callers add and remove the rules,
// and notify homes.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "connections/endings.h"
#include "connections/journal.h"
#include "connections/records.h"

namespace sockmi::daemon {

class ConnectionTable {
 public:
  using Imported = std::map<std::uint64_t, ImportedConnection>;  // by socket cookie
  using Remote = std::map<FourTuple, RemoteConnection>;

  // Has what the journal says. `host`: our name; `control`: the address of our control
  // channel.
  ConnectionTable(Journal journal, std::string host, const SocketAddress& control);

  // --- reading; pointers and iterators are valid until the next change ---

  // Connections that came here: those of other homes, and our own that came back.
  const Imported& imported() const { return imported_; }
  const ImportedConnection* find_imported(std::uint64_t cookie) const;
  // Connections that left here and live elsewhere.
  const Remote& remote() const { return remote_; }
  const RemoteConnection* find_remote(const FourTuple& tuple) const;
  // True if its home is another host.
  bool is_foreign(const ImportedConnection& connection) const { return connection.home != host_; }
  const Journal& journal() const { return journal_; }

  // Checks whether `from` may bring the connection here. Errors: EBUSY if it left here
  // and its home has not confirmed that: our pending MOVED could reach home after the
  // message about its return. EBUSY also if we are its home and have recorded that
  // another host holds it.
  Result<> may_come(const std::string& from, const FourTuple& tuple) const;

  // --- decisions ---

  // Reserves space in the journal for the decisions of `moves` endpoints that come or go.
  // Errors: ENOSPC.
  Result<> reserve(std::size_t moves) { return journal_.reserve(moves); }
  // The point of no return: the endpoint leaves, or all endpoints of a group. Errors: if
  // the disk does not take it; then nothing is decided.
  Result<> log_decision(std::span<const Departure> group);
  Result<> log_decision(const wire::MigrationId& id, const Decision& decision,
                        const std::optional<RemoteConnection>& away) {
    return log_decision(std::array{Departure{id, decision, away}});
  }
  // The importer never had the endpoint, and it continues here. `imported`: its record as
  // an imported connection, if its home is elsewhere.
  void undo_decision(const wire::MigrationId& id, const Decision& decision,
                     const std::optional<ImportedConnection>& imported);
  // The importer has reported the outcome; nobody will ask for the decision again.
  void forget_decision(const wire::MigrationId& id) { journal_.acknowledged(id); }
  // Imports from `host` are about to thaw. Errors: if the disk does not take it; then
  // none of them may thaw.
  Result<> log_thaw(const std::string& host, const std::vector<Thawing>& imports) {
    return journal_.thawed(host, imports);
  }
  // It did not thaw, or nobody will ask again.
  void forget_thaw(const wire::MigrationId& id) { journal_.not_thawed(id); }
  // The same of a group. `away`: those of its endpoints that continue at another host.
  void forget_thaw(std::span<const wire::MigrationId> group, std::span<const Journal::Away> away);
  // An application has an endpoint that thawed here, or all endpoints of a group.
  void log_delivery(std::span<const wire::MigrationId> group) { journal_.delivered(group); }
  void log_delivery(const wire::MigrationId& id) { journal_.delivered(id); }

  // --- places ---

  // A connection that does not live here lives there now.
  void mark_moved(const FourTuple& tuple, const RemoteConnection& remote);
  // It does not live elsewhere any more, or it is not ours to redirect.
  void mark_returned(const FourTuple& tuple);
  // Removes it from memory alone. The journal keeps it for a daemon that may enter the
  // network namespace of its container.
  void set_aside(const FourTuple& tuple);
  // It lives here. Returns false if it had a record already. A connection whose home is
  // here is only in memory.
  bool add_imported(std::uint64_t cookie, const ImportedConnection& connection);
  // An imported connection is at home from now on: its address has become ours.
  void rehome(std::uint64_t cookie);

  // --- ends ---

  struct Ended {
    ImportedConnection connection;
    // The number under which the journal keeps the duty to notify its home; 0: this host
    // is its home.
    std::uint64_t notice = 0;
  };
  // None if there is no such connection.
  std::optional<Ended> end_imported(std::uint64_t cookie);
  // A connection in remote(), which must exist, has ended where it lived. `generation`:
  // of the end.
  Ended end_remote(const FourTuple& tuple, std::uint64_t generation);
  // The same, where its record as an imported connection is known. Returns the notice.
  std::uint64_t end_forwarded(const ImportedConnection& connection);
  // True if a message about this generation of a connection that was in remote() is
  // outdated.
  bool has_ended(const FourTuple& tuple, std::uint64_t generation) const {
    return ends_.has(tuple, generation);
  }
  // Home has confirmed the end, or nobody waits for that any more.
  void end_notice(std::uint64_t notice) { journal_.end_delivered(notice); }

  // --- what else is known of remote connections ---

  // True if the holder has received nothing from the peer since the connection moved.
  bool is_unheard(const FourTuple& tuple) const { return unheard_.contains(tuple); }
  std::size_t unheard() const { return unheard_.size(); }
  // Returns true if this is new. A connection that is not in remote() is never unheard.
  bool set_unheard(const FourTuple& tuple, bool unheard);
  // Redirects that our kernel had when we started, and that the journal does not explain.
  void add_unexplained_redirect(const FourTuple& tuple, const IpAddress& to);
  const IpAddress* unexplained_redirect(const FourTuple& tuple) const;
  void forget_unexplained_redirect(const FourTuple& tuple) { unexplained_.erase(tuple.unmapped()); }

  // --- addresses ---
  void log_taken_over(const TakenOver& address) { journal_.took_over(address); }
  void log_given_up(const IpAddress& address) { journal_.gave_up(address); }

  // --- the journal's file (journal_keeper.h); these change no fact ---
  void write_again() { journal_.write_again(); }
  std::string begin_compaction() { return journal_.begin_compaction(); }
  void end_compaction(Result<unique_fd> file) { journal_.end_compaction(std::move(file)); }

 private:
  void put_remote(const FourTuple& tuple, const RemoteConnection& remote);
  void erase_remote(const FourTuple& tuple);

  Journal journal_;
  const std::string host_;
  const SocketAddress control_;
  Imported imported_;
  Remote remote_;
  RecentEnds ends_;  // of connections that were in remote_
  std::set<FourTuple> unheard_;
  std::map<FourTuple, IpAddress> unexplained_;  // by unmapped tuple
};

}  // namespace sockmi::daemon
