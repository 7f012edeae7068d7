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

// Returns the line that states a fact; without words, the one that ends it.
std::string line_of(const Key& key, const Words* words);
// True if a fact with a known verb is well-formed. Facts with the verbs of other versions
// cannot be judged, and are accepted.
bool is_fact(const Key& key, const Words& words);
// True if this can be a line of a journal.
bool is_printable(const std::string& line);

}  // namespace sockmi::daemon::facts
