// Converts the facts of the journal (journal.h) to lines of text and back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "connections/records.h"
#include "wire/control_messages.h"

namespace sockmi::daemon::facts {

using Key = std::pair<std::string, std::string>;  // verb, key
using Words = std::vector<std::string>;           // the other words of a fact

std::optional<std::uint64_t> parse_number(const std::string& text);
std::optional<wire::MigrationId> parse_id(const std::string& text);
Result<FourTuple> parse_tuple(const std::string& text);

Words words_of(const RemoteConnection& away);
Words words_of(const ImportedConnection& it);
Words words_of(const TakenOver& it);
Result<RemoteConnection> read_away(const Words& words);
Result<ImportedConnection> read_imported(const Words& words);
Result<TakenOver> read_taken_over(const std::string& address, const Words& words);
// Returns 0 for a line of an earlier version, which has no generation.
std::uint64_t generation_of(const Words& words, std::size_t at);

// Returns the line that states a fact; without words, the one that ends it.
std::string line_of(const Key& key, const Words* words);
// The lines of facts that are stated, or end.
struct Change {
  Key key;
  std::optional<Words> words;  // none: the fact ends
};
std::string text_of(const std::vector<Change>& changes);
// One line with all of them, of which all are written or none is.
std::string as_record(const std::vector<Change>& changes);
constexpr std::size_t kLongestRecord = 128 << 10;  // in bytes
// Returns the facts of a line. Nothing if one of them is none.
std::optional<std::vector<Change>> read_line(const std::string& line);
// True if a fact with a known verb is well-formed. Facts with the verbs of other versions
// cannot be judged, and are accepted.
bool is_fact(const Key& key, const Words& words);

}  // namespace sockmi::daemon::facts
