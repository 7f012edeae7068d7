// What was decided, for importers in doubt, and who lives where, for the daemon after a restart. Lines of text, no secrets.
//
// The journal is a set of facts. A line states one: a verb, its key, what else there is to say; a line whose verb has a "-" before it ends
// the fact of that verb and key. Words are separated by one blank; other characters than printable ASCII, and "%", are %XX.
//
//   committed ID [COOKIE TUPLE HOST HOST-LINE MARK]                an export of ours, until its importer HOST has said what became of it
//   thawed ID COOKIE [HOST]                                         an import that lives here, or did: until its exporter knows
//   away TUPLE SERVICE HOST ADDRESS HOME HOME-LINE [container] [GENERATION]   see RemoteConnection
//   resident COOKIE TUPLE SERVICE HOME HOME-LINE FROM FROM-LINE GENERATION    see ImportedConnection; those whose home is here need no record
//   ended NUMBER TUPLE SERVICE HOME HOME-LINE FROM FROM-LINE GENERATION     a resident that has ended, and whose home does not know it yet
//   taken ADDRESS PREFIX INTERFACE FROM [deprecated]                see TakenOver
//
// A decision is written before COMMIT is sent, with what follows from it, in one write(2), and is the point of no return. It is not fsync()ed:
// it must outlive the daemon, which a write(2) does; when the whole host dies, the sockets that it speaks of die too.
//
// One daemon at a time has the journal: its folder is locked before it is read. A file that can not be read is no empty journal; the daemon does
// not start. A torn last line was not written. SocketInfo of verbs that this version does not know stay in it. A line that is no fact at all makes the
// daemon keep the whole file under another name before it writes a new one, and is counted in the status.
//
// Room for the decisions of a move is reserved before anything is frozen, so a full disk refuses moves and does not break one. All other facts are
// true whether the disk takes them or not: memory has them, and they are written as soon as the disk allows it.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "connections/journal_file.h"
#include "connections/records.h"
#include "wire/control_messages.h"

namespace sockmi::daemon {

// An export whose importer has not said yet what became of it.
struct Decision {
  std::uint64_t cookie = 0;  // of the socket here
  FourTuple tuple;
  std::string host;  // the importer; empty: an older daemon wrote this, and nobody knows
  SocketAddress line;
  std::uint32_t mark = 0;  // the socket's own SO_MARK
};

struct Thawed {
  std::uint64_t cookie = 0;
  std::string host;  // from which it came; empty: an older daemon wrote this
  bool operator==(const Thawed&) const = default;
};

class Journal {
 public:
  // Locks the folder, and reads what is there. EBUSY: another daemon has it.
  static Result<Journal> open(const std::filesystem::path& folder);
  // Only to look into it: nothing is changed, and nothing may be said to it.
  static Result<Journal> look(const std::filesystem::path& folder);

  // The endpoint goes; `away`: none if it goes home.
  Result<> committed(const wire::MigrationId& id, const Decision& decision, const std::optional<RemoteConnection>& away);
  void acknowledged(const wire::MigrationId& id);  // the importer has said what became of it; nobody will ask again
  // The importer never had it, and it goes on here; `guest`: what it was here, if its home is elsewhere.
  void taken_back(const wire::MigrationId& id, const Decision& decision, const std::optional<ImportedConnection>& guest);
  std::map<wire::MigrationId, Decision> decisions() const;
  bool has(const wire::MigrationId& id) const { return facts_.contains({"committed", wire::to_hex(id)}); }

  // Imports from `host` that thaw now, with their sockets' cookies. Nothing may thaw that is not written.
  Result<> thawed(const std::string& host, const std::vector<std::pair<wire::MigrationId, std::uint64_t>>& imports);
  void not_thawed(const wire::MigrationId& id);  // or nobody will ask again
  std::map<wire::MigrationId, Thawed> thawed() const;

  // SocketInfo can not fail: see above.
  void is_away(const FourTuple& tuple, const RemoteConnection& away);
  void is_back(const FourTuple& tuple);
  void lives_here(std::uint64_t cookie, const ImportedConnection& resident);
  void is_home(std::uint64_t cookie);
  std::uint64_t has_ended(const ImportedConnection& resident, std::uint64_t cookie);  // the number under which home is to be told; cookie 0: it was away
  void told(std::uint64_t number);
  void took_over(const TakenOver& address);
  void gave_away(const IpAddress& address);

  std::map<FourTuple, RemoteConnection> away() const;
  std::vector<TakenOver> taken_over() const;
  std::map<std::uint64_t, ImportedConnection> residents() const { return residents("resident"); }
  std::map<std::uint64_t, ImportedConnection> pending_ends() const { return residents("ended"); }
  bool is_untold(std::uint64_t number) const { return facts_.contains({"ended", std::to_string(number)}); }

  // Before so many endpoints may come or go: their decisions will find room. Refuses while the disk does not take what there is to write.
  Result<> reserve(std::size_t moves);
  // Writes what the disk did not take. To be called from time to time.
  void write_again();

  // A new file with the facts alone, when the old one has grown. begin: its text; it is written by JournalFile::write_aside(), which may wait for the
  // disk; end: what was said meanwhile is added, and the file takes the old one's place.
  bool wants_compaction() const { return !since_ && (overflowed_ || lines_ > compact_at_); }
  std::string begin_compaction();
  void end_compaction(Result<unique_fd> file);
  const std::filesystem::path& path() const { return file_.path(); }

  // For the status.
  const std::string& error() const { return error_; }  // why the disk does not take what there is to write; "": it does
  std::size_t unwritten() const { return unwritten_lines_; }
  std::size_t unreadable() const { return unreadable_; }

 private:
  using Key = std::pair<std::string, std::string>;  // verb, key
  using Words = std::vector<std::string>;
  struct Change {
    Key key;
    std::optional<Words> words;  // none: the fact ends
  };
  static std::string text_of(const std::vector<Change>& changes);
  void read(const std::string& all);
  void take(Change change);
  Result<> write(const std::string& lines, std::size_t count);
  void append(std::vector<Change> changes);
  Result<> append_or_fail(std::vector<Change> changes);
  Result<> open_file();
  std::string facts_as_text() const;
  std::map<std::uint64_t, ImportedConnection> residents(const std::string& verb) const;

  unique_fd lock_;
  JournalFile file_;
  std::map<Key, Words> facts_;
  std::size_t lines_ = 0;                   // in the file
  std::size_t compact_at_ = 10'000;
  std::uint64_t last_number_ = 0;
  std::string unwritten_;                   // lines that the disk did not take
  std::size_t unwritten_lines_ = 0;
  bool overflowed_ = false;                 // there were too many of them: only a new file tells all
  std::optional<std::string> since_;        // what was said since begin_compaction()
  std::string error_;
  std::size_t unreadable_ = 0;
  bool torn_ = false;                       // the file's last line
};

}  // namespace sockmi::daemon
