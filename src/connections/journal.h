// Stores what has to survive the daemon: the decisions that importers in doubt ask for,
// and where connections live. The file consists of lines of text and contains no secrets.
//
// The journal is a set of facts. A line states a fact by a verb, the fact's key, and its
// other words. A line whose verb is preceded by "-" ends the fact with that verb and key.
// Words are separated by one blank. Inside a word, blanks, "%" and everything that is not
// printable ASCII are written as %XX.
//
//   committed ID [COOKIE TUPLE HOST HOST-CONTROL MARK [GROUP [GENERATION [BOOT]]]]
//       An export of ours, until its importer HOST has reported the outcome. GROUP: the
//       ID of its group, which is that of one of its endpoints; of one alone, its own ID.
//   thawed ID COOKIE [HOST [BOOT]]
//       An import that lives or lived here, until its exporter HOST has the outcome.
//       COOKIE is 0 as soon as the endpoint does not end with this daemon any more: an
//       application has it, or it has moved on. What becomes of it then is not for the
//       exporter to settle.
//   away TUPLE SERVICE HOST ADDRESS HOME HOME-CONTROL [container] [GENERATION]
//       See RemoteConnection.
//   resident COOKIE TUPLE SERVICE HOME HOME-CONTROL FROM FROM-CONTROL GENERATION [BOOT]
//       See ImportedConnection. A connection whose home is here needs no record.
//   ended NUMBER TUPLE SERVICE HOME HOME-CONTROL FROM FROM-CONTROL GENERATION
//       An imported or forwarded connection that has ended; home has not confirmed it.
//   taken ADDRESS PREFIX INTERFACE FROM [deprecated]
//       See TakenOver.
//
// ...-CONTROL is the address of a host's control channel. GENERATION: see records.h.
// Words in brackets are missing in lines of earlier versions.
//
// BOOT is the boot in which COOKIE is that of a socket (boot_id.h). Each boot counts
// cookies from the start, so a cookie of another boot may be that of any socket. The
// socket of such a line is gone, and what was in it has ended. A line without BOOT counts
// as one of this boot.
//
// One more line is a record of several facts, of which all are written or none is. Each
// FACT is a line of the above. The decision on a group is such a record, and so are its
// thaw and its delivery.
//
//   together COUNT FACT...
//
// The decision to move an endpoint is the point of no return. It is written before COMMIT
// is sent, together with the facts that follow from it, in one write(2). It is not
// fsync()ed: it has to survive the daemon, and after write(2) it does. When the whole
// host dies, the sockets that the decision is about die too.
//
// One daemon at a time has the journal: it locks the folder before it reads the file. A
// file that cannot be read does not count as an empty journal; the daemon does not start.
// A torn last line counts as not written. Facts with verbs that this version does not
// support stay in the journal. If a line is not a fact at all, the daemon keeps the whole
// file under another name before it writes a new one, and the status counts the line.
// Until an operator removes that file, no daemon concludes anything from the absence of a
// fact.
//
// Space for the decisions of a migration is reserved before anything is frozen. So a full
// disk refuses migrations, and does not interrupt one. All other facts are true whether
// the disk takes them or not: they are kept in memory, and written as soon as the disk
// takes them.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "base/boot_id.h"
#include "base/error.h"
#include "base/unique_fd.h"
#include "connections/journal_facts.h"
#include "connections/journal_file.h"
#include "connections/records.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

// An export whose importer has not reported the outcome yet.
struct Decision {
  std::uint64_t cookie = 0;  // of the socket here; 0: it ended with an earlier boot
  FourTuple tuple;
  std::string host;  // the importer; empty: not recorded (written by an older daemon)
  SocketAddress control_address;
  std::uint32_t mark = 0;  // the socket's own SO_MARK
  std::optional<wire::MigrationId> group = {};
  std::uint64_t generation = 0;  // of the hop; 0: not recorded (written by an older daemon)
};

// An endpoint that leaves. `away`: where it lives then; none if it goes home.
struct Departure {
  wire::MigrationId id{};
  Decision decision;
  std::optional<RemoteConnection> away;
};

// An import that is about to thaw. Those of the same group (not 0) follow each other.
// `tuple`, `generation`: of a connection.
struct Thawing {
  wire::MigrationId id{};
  std::uint64_t cookie = 0;
  std::uint32_t group = 0;
  FourTuple tuple = {};
  std::uint64_t generation = 0;
};

struct Thawed {
  std::uint64_t cookie = 0;      // of the socket here; 0: the endpoint has left the daemon
  std::string host;              // the exporter; empty: not recorded (written by an older daemon)
  bool ended_with_boot = false;  // the socket was one of an earlier boot
  bool operator==(const Thawed&) const = default;
};

class Journal {
 public:
  // Locks the folder, and reads the journal. Imported connections of another boot have
  // ended then. `boot`: the present one; empty: not known, and all lines count as of this
  // boot. Errors: EBUSY if another daemon has it.
  static Result<Journal> open(const std::filesystem::path& folder,
                              const std::string& boot = boot_id());
  // Reads the journal without locking it. Nothing on disk is changed, and the result must
  // not be changed.
  static Result<Journal> look(const std::filesystem::path& folder,
                              const std::string& boot = boot_id());

  // Logs the decision that an endpoint moves, or all endpoints of a group. If one was
  // imported, and its exporter may still ask for it, it has left this daemon from then
  // on. Errors: if the disk does not take it; then nothing is decided.
  Result<> committed(std::span<const Departure> group);
  Result<> committed(const wire::MigrationId& id, const Decision& decision,
                     const std::optional<RemoteConnection>& away) {
    return committed(std::array{Departure{id, decision, away}});
  }
  // The importer has reported the outcome; nobody will ask for the decision again.
  void acknowledged(const wire::MigrationId& id);
  // The importer never had the endpoint, and it continues here. `imported`: its record as
  // an imported connection, if its home is elsewhere.
  void taken_back(const wire::MigrationId& id, const Decision& decision,
                  const std::optional<ImportedConnection>& imported);
  std::map<wire::MigrationId, Decision> decisions() const;
  bool has(const wire::MigrationId& id) const {
    return facts_.contains({"committed", wire::to_hex(id)});
  }

  // Logs imports from `host` that are about to thaw. Nothing may thaw that is not
  // written. A connection that comes back has lived elsewhere since it left, so nothing
  // is open any more about earlier decisions on it, and they end.
  Result<> thawed(const std::string& host, const std::vector<Thawing>& imports);
  // Endpoints did not thaw, or nobody will ask again. `away`: those of them that continue
  // at another host, in the same record.
  using Away = std::pair<FourTuple, RemoteConnection>;
  void not_thawed(std::span<const wire::MigrationId> group, std::span<const Away> away = {});
  void not_thawed(const wire::MigrationId& id) { not_thawed({&id, 1}); }
  // An application has an endpoint, or all endpoints of a group.
  void delivered(std::span<const wire::MigrationId> group);
  void delivered(const wire::MigrationId& id) { delivered({&id, 1}); }
  std::map<wire::MigrationId, Thawed> thawed() const;

  // These facts cannot fail: see the top of this file.
  void is_away(const FourTuple& tuple, const RemoteConnection& away);
  void is_back(const FourTuple& tuple);
  void add_imported(std::uint64_t cookie, const ImportedConnection& imported);
  void rehome(std::uint64_t cookie);
  // An imported connection has ended; for `cookie` 0, a forwarded one. Returns the number
  // under which the pending notification of its home is kept. end_delivered(): home has
  // confirmed it.
  std::uint64_t has_ended(const ImportedConnection& imported, std::uint64_t cookie);
  void end_delivered(std::uint64_t number);
  void took_over(const TakenOver& address);
  void gave_up(const IpAddress& address);

  std::map<FourTuple, RemoteConnection> away() const;
  std::vector<TakenOver> taken_over() const;
  std::map<std::uint64_t, ImportedConnection> imported() const { return imported("resident"); }
  std::map<std::uint64_t, ImportedConnection> pending_ends() const { return imported("ended"); }
  bool is_pending_end(std::uint64_t number) const {
    return facts_.contains({"ended", std::to_string(number)});
  }

  // Reserves space for the decisions of `moves` endpoints that come or go. Errors: ENOSPC
  // if there is no space, or while the disk does not take what there is to write.
  Result<> reserve(std::size_t moves);
  // Writes what the disk did not take before. To be called from time to time.
  void write_again();

  // Compaction: replaces a file that has grown by a new one that contains the facts
  // alone. begin_compaction() returns the new file's text. JournalFile::write_aside()
  // writes it, and may wait for the disk. end_compaction() appends what was logged
  // meanwhile, and puts the new file in the old one's place.
  bool wants_compaction() const { return !since_ && (overflowed_ || lines_ > compact_at_); }
  std::string begin_compaction();
  void end_compaction(Result<unique_fd> file);
  const std::filesystem::path& path() const { return file_.path(); }

  // For the status.
  const std::string& error() const { return error_; }  // why the disk takes no writes; "": it does
  std::size_t unwritten() const { return unwritten_lines_; }
  std::size_t unreadable() const { return unreadable_; }

  // True if facts may be missing, because lines could not be read by this daemon, or by
  // an earlier one whose damaged file is still kept. Then the absence of a fact proves
  // nothing.
  bool may_lack_facts() const { return unreadable_ > 0 || !file_.kept().empty(); }

 private:
  using Change = facts::Change;
  using Key = facts::Key;
  using Words = facts::Words;
  Change left_daemon(const Key& thaw) const;
  bool is_of_other_boot(const Words& words, std::size_t at) const;
  Words with_boot(Words words) const;
  void end_other_boots();
  std::vector<Change> decisions_before(const std::vector<Thawing>& imports) const;
  void read(const std::string& all);
  void take(Change change);
  Result<> write(const std::string& lines, std::size_t count);
  // `lines`: the text of the changes.
  Result<> append_or_fail(const std::string& lines, std::vector<Change> changes);
  void append(const std::string& lines, std::vector<Change> changes);
  void append(std::vector<Change> changes);
  Result<> open_file();
  std::string facts_as_text() const;
  std::map<std::uint64_t, ImportedConnection> imported(const std::string& verb) const;

  unique_fd lock_;
  JournalFile file_;
  std::string boot_;
  std::map<Key, Words> facts_;
  std::map<std::uint64_t, Key> thaws_;  // of this boot, by the cookies of their sockets
  std::size_t lines_ = 0;               // in the file
  std::size_t compact_at_ = 10'000;
  std::uint64_t last_number_ = 0;
  std::string unwritten_;  // lines that the disk did not take
  std::size_t unwritten_lines_ = 0;
  bool overflowed_ = false;           // too many unwritten lines: only a new file is complete
  std::optional<std::string> since_;  // what was logged since begin_compaction()
  std::string error_;
  std::size_t unreadable_ = 0;
  bool torn_ = false;  // the last line of the file is incomplete
};

}  // namespace sockmi::daemon
