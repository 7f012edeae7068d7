// What was decided, for importers in doubt, and who lives where, for the daemon after a restart. Lines of text, no secrets.
//
// The journal is a set of facts. A line states one: a verb, its key, what else there is to say; a line whose verb has a "-" before it ends
// the fact of that verb and key. Words are separated by one blank; other characters than printable ASCII, and "%", are %XX.
//
//   committed ID                                                   an export of ours, until the importer acknowledged it
//   away TUPLE SERVICE HOST ADDRESS HOME HOME-LINE [container]     see Away
//   resident COOKIE TUPLE SERVICE HOME HOME-LINE FROM FROM-LINE    see Resident; those whose home is here need no record
//   ended NUMBER TUPLE SERVICE HOME HOME-LINE FROM FROM-LINE       a resident that has ended, and whose home does not know it yet
//
// A decision is written before COMMIT is sent, with what follows from it, in one write(2), and is the point of no return. It is not fsync()ed:
// it must outlive the daemon, which a write(2) does; when the whole host dies, the sockets that it speaks of die too.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "broker/whereabouts.h"
#include "image/endpoint.h"

namespace sockmi::broker {

class Journal {
 public:
  // Reads what is there. A torn last line counts as not written; what is no fact is passed over.
  static Result<Journal> open(const std::filesystem::path& folder);
  // Only to look into it: nothing is changed, and nothing may be said to it.
  static Result<Journal> look(const std::filesystem::path& folder);

  // The endpoint of socket `cookie` goes; `away`: none if it goes home.
  Result<> committed(const image::MigrationId& id, std::uint64_t cookie, const FourTuple& tuple, const std::optional<Away>& away);
  void acknowledged(const image::MigrationId& id);  // the importer has it; nobody will ask again
  bool has(const image::MigrationId& id) const { return facts_.contains({"committed", image::to_hex(id)}); }

  // The rest is not worth to fail for: what is lost with a full disk, hosts tell each other again when a daemon starts.
  void is_away(const FourTuple& tuple, const Away& away);
  void is_back(const FourTuple& tuple);
  void lives_here(std::uint64_t cookie, const Resident& resident);
  void is_home(std::uint64_t cookie);
  std::uint64_t has_ended(const Resident& resident, std::uint64_t cookie);  // the number under which home is to be told; cookie 0: it was away
  void told(std::uint64_t number);

  std::map<FourTuple, Away> away() const;
  std::map<std::uint64_t, Resident> residents() const { return residents("resident"); }
  std::map<std::uint64_t, Resident> untold() const { return residents("ended"); }

 private:
  using Key = std::pair<std::string, std::string>;  // verb, key
  using Words = std::vector<std::string>;
  struct Change {
    Key key;
    std::optional<Words> words;  // none: the fact ends
  };
  void take(Change change);
  Result<> append(std::vector<Change> changes);
  Result<> compact();
  std::map<std::uint64_t, Resident> residents(const std::string& verb) const;

  std::filesystem::path path_;
  unique_fd file_;
  std::map<Key, Words> facts_;
  std::size_t lines_ = 0;  // in the file
  std::uint64_t last_number_ = 0;
};

}  // namespace sockmi::broker
