#include "connections/journal.h"

#include <limits>
#include <sstream>

#include "base/log.h"

namespace sockmi::daemon {
using namespace facts;
namespace {

// In bytes. The spare is for all other facts.
constexpr std::size_t kRoomOfMove = 1024, kSpareRoom = 64 << 10;
constexpr std::size_t kMostUnwritten = 1 << 20;
// Indices of words behind the key.
constexpr std::size_t kGenerationOfDecision = 6, kBootOfDecision = 7, kBootOfThaw = 2,
                      kBootOfResident = 7;

}  // namespace

Result<Journal> Journal::open(const std::filesystem::path& folder, const std::string& boot) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fail(error.value(), "cannot create {}: {}", folder.string(), error.message());
  TRY_LET(lock, JournalFile::lock(folder));
  TRY_LET(journal, look(folder, boot));
  journal.lock_ = std::move(lock);
  TRY(journal.open_file());
  journal.end_other_boots();
  return journal;
}

Result<Journal> Journal::look(const std::filesystem::path& folder, const std::string& boot) {
  Journal journal;
  journal.boot_ = boot;
  journal.file_ = JournalFile(folder / "journal");
  TRY_LET(all, JournalFile::read(journal.path()));
  journal.read(all);
  return journal;
}

void Journal::read(const std::string& all) {
  torn_ = !all.empty() && all.back() != '\n';
  std::istringstream lines(all.substr(0, all.rfind('\n') + 1));
  for (std::string line; std::getline(lines, line); ++lines_) {
    if (line.ends_with(JournalFile::kNotWritten)) continue;
    if (auto changes = read_line(line)) {
      for (Change& change : *changes)
        take(std::move(change));
      continue;
    }
    ++unreadable_;
    log::error("journal_line_unreadable", {{"file", path().string()}, {"line", lines_ + 1}});
  }
}

// Opens the file at startup. If the disk has space, the facts go into a new file
// immediately; otherwise the old one is used, which is as good.
Result<> Journal::open_file() {
  for (const auto& earlier : file_.kept()) {
    log::warn("damaged_journal_remains",
              {{"file", earlier.string()},
               {"consequence",
                "frozen sockets without a decision, and what other hosts ask of endpoints that "
                "this journal lacks, stay in doubt until the file is removed"}});
  }
  Result<> kept;
  if (unreadable_ > 0) {
    const auto name = file_.keep_aside();
    if (name) {
      log::error("journal_damaged", {{"count", unreadable_}, {"file", name->string()}});
    } else {
      kept = std::unexpected(name.error());
    }
  }
  const bool unkept = !kept;
  auto fresh = kept ? JournalFile::write_aside(path(), facts_as_text())
                    : Result<unique_fd>(std::unexpected(kept.error()));
  if (fresh) {
    if (auto done = file_.replace(std::move(*fresh), ""); done) {
      lines_ = facts_.size();
      compact_at_ = 2 * lines_ + 10'000;
      return {};
    } else {
      kept = std::move(done);
    }
  } else {
    kept = std::unexpected(fresh.error());
  }
  log::error("journal_compact_failed", {{"error", kept.error()}});
  compact_at_ = unkept ? std::numeric_limits<std::size_t>::max() : lines_ + 10'000;
  auto opened = file_.open(torn_);
  const bool is_full = !opened && (opened.error().code == ENOSPC || opened.error().code == EDQUOT);
  return is_full ? Result<>() : opened;  // the file is then created when there is space
}

// The imported connections of other boots have ended with their sockets.
void Journal::end_other_boots() {
  std::vector<Key> gone;
  for (const auto& [key, words] : facts_)
    if (key.first == "resident" && is_of_other_boot(words, kBootOfResident)) gone.push_back(key);
  for (const Key& key : gone) {
    const auto imported = read_imported(facts_.at(key));
    const auto cookie = parse_number(key.second);
    if (imported && cookie) has_ended(*imported, *cookie);
  }
  if (!gone.empty()) log::info("connections_ended_with_boot", {{"count", gone.size()}});
}

// `at`: the index of the word that names the boot.
bool Journal::is_of_other_boot(const Words& words, std::size_t at) const {
  return words.size() > at && !boot_.empty() && words[at] != boot_;
}

Journal::Words Journal::with_boot(Words words) const {
  if (!boot_.empty()) words.push_back(boot_);
  return words;
}

void Journal::take(Change change) {
  if (change.key.first == "ended")
    last_number_ = std::max(last_number_, parse_number(change.key.second).value_or(0));
  if (change.key.first == "thawed") {
    const auto cookie_of = [](const Words& words) {
      return parse_number(words.front()).value_or(0);
    };
    if (const auto before = facts_.find(change.key); before != facts_.end()) {
      // A line without a boot may have the cookie of another thaw's socket.
      const auto thaw = thaws_.find(cookie_of(before->second));
      if (thaw != thaws_.end() && thaw->second == change.key) thaws_.erase(thaw);
    }
    if (change.words && cookie_of(*change.words) != 0 &&
        !is_of_other_boot(*change.words, kBootOfThaw))
      thaws_[cookie_of(*change.words)] = change.key;
  }
  if (change.words) {
    facts_[std::move(change.key)] = std::move(*change.words);
  } else {
    facts_.erase(change.key);
  }
}

std::string Journal::facts_as_text() const {
  std::string all;
  for (const auto& [key, words] : facts_)
    all += line_of(key, &words);
  return all;
}

// Writes the lines, and before them, in order, everything that was not written yet.
Result<> Journal::write(const std::string& lines, std::size_t count) {
  if (overflowed_) return fail(ENOSPC, "{}", error_);
  auto done = file_.append(unwritten_ + lines);
  if (!done) {
    if (error_.empty()) {
      log::error("journal_write_failed",
                 {{"error", done.error()},
                  {"consequence", "no endpoint moves until the journal can be written"}});
    }
    error_ = to_string(done.error());
    return done;
  }
  lines_ += count + unwritten_lines_;
  if (!error_.empty()) log::warn("journal_recovered", {{"count", unwritten_lines_}});
  error_.clear();
  unwritten_.clear();
  unwritten_lines_ = 0;
  return {};
}

Result<> Journal::append_or_fail(const std::string& lines, std::vector<Change> changes) {
  TRY(write(lines, changes.size()));
  if (since_) *since_ += lines;
  for (Change& change : changes)
    take(std::move(change));
  return {};
}

void Journal::append(std::vector<Change> changes) {
  const std::string lines = text_of(changes);
  append(lines, std::move(changes));
}

void Journal::append(const std::string& lines, std::vector<Change> changes) {
  // While the disk takes no writes, only write_again() tries whether it works again.
  if (!error_.empty() || !write(lines, changes.size())) {
    unwritten_ += lines;
    unwritten_lines_ += changes.size();
    if (unwritten_.size() > kMostUnwritten) {
      overflowed_ = true;
      unwritten_.clear();
    }
  }
  if (since_) *since_ += lines;
  for (Change& change : changes)
    take(std::move(change));
}

Result<> Journal::reserve(std::size_t moves) {
  write_again();
  if (!error_.empty())
    return fail(ENOSPC, "cannot move endpoints while the journal cannot be written: {}", error_);
  if (auto room = file_.reserve(moves * kRoomOfMove + kSpareRoom); !room)
    return fail(ENOSPC, "cannot move endpoints: {}", to_string(room.error()));
  return {};
}

// If nothing waits to be written, writes a line without meaning to find out whether the
// disk works.
void Journal::write_again() {
  if (!error_.empty()) (void)write(unwritten_.empty() ? "-probe 0\n" : "", unwritten_.empty());
}

std::string Journal::begin_compaction() {
  since_.emplace();
  return facts_as_text();
}

// After a failure, the next attempt is made when the file has grown by the same amount
// again.
void Journal::end_compaction(Result<unique_fd> file) {
  const std::string since = *std::exchange(since_, std::nullopt);
  auto done =
      file ? file_.replace(std::move(*file), since) : Result<>(std::unexpected(file.error()));
  if (!done) {
    log::error("journal_compact_failed", {{"error", done.error()}});
    compact_at_ = lines_ + 10'000;
    return;
  }
  lines_ = facts_.size();
  compact_at_ = 2 * lines_ + 10'000;
  if (!error_.empty()) log::warn("journal_recovered", {{"count", unwritten_lines_}});
  error_.clear();
  unwritten_.clear();
  unwritten_lines_ = 0;
  overflowed_ = false;
}

Result<> Journal::committed(std::span<const Departure> group) {
  std::vector<Change> changes;
  for (const auto& [id, decision, away] : group) {
    Words words{std::to_string(decision.cookie),
                to_string(decision.tuple),
                decision.host,
                to_string(decision.control_address),
                std::to_string(decision.mark),
                wire::to_hex(decision.group.value_or(id)),
                std::to_string(decision.generation)};
    changes.push_back({{"committed", wire::to_hex(id)}, with_boot(std::move(words))});
    const Key imported{"resident", std::to_string(decision.cookie)};
    if (facts_.contains(imported)) changes.push_back({imported, {}});
    if (const auto thaw = thaws_.find(decision.cookie); thaw != thaws_.end())
      changes.push_back(left_daemon(thaw->second));
    if (away) changes.push_back({{"away", to_string(decision.tuple)}, words_of(*away)});
  }
  const std::string lines = group.size() > 1 ? as_record(changes) : text_of(changes);
  if (group.size() > 1 && lines.size() > kLongestRecord)
    return fail(EMSGSIZE, "cannot log the decision on a group: {} bytes", lines.size());
  return append_or_fail(lines, std::move(changes));
}

void Journal::taken_back(const wire::MigrationId& id, const Decision& decision,
                         const std::optional<ImportedConnection>& imported) {
  std::vector<Change> changes{{{"committed", wire::to_hex(id)}, {}},
                              {{"away", to_string(decision.tuple)}, {}}};
  if (imported)
    changes.push_back(
        {{"resident", std::to_string(decision.cookie)}, with_boot(words_of(*imported))});
  append(std::move(changes));
}

std::map<wire::MigrationId, Decision> Journal::decisions() const {
  std::map<wire::MigrationId, Decision> out;
  for (const auto& [key, words] : facts_) {
    const auto id = key.first == "committed" ? parse_id(key.second) : std::nullopt;
    if (!id) continue;
    Decision& decision = out[*id];
    if (words.size() < 5) continue;
    const auto tuple = parse_tuple(words[1]);
    const auto line = SocketAddress::parse(words[3]);
    if (tuple && line) {
      const bool is_gone = is_of_other_boot(words, kBootOfDecision);
      decision = {is_gone ? 0 : parse_number(words[0]).value_or(0),
                  *tuple,
                  words[2],
                  *line,
                  static_cast<std::uint32_t>(parse_number(words[4]).value_or(0)),
                  words.size() > 5 ? parse_id(words[5]) : std::nullopt,
                  generation_of(words, kGenerationOfDecision)};
    }
  }
  return out;
}

Result<> Journal::thawed(const std::string& host, const std::vector<Thawing>& imports) {
  std::string lines;
  std::vector<Change> all;
  for (auto it = imports.begin(); it != imports.end();) {
    const std::uint32_t group = it->group;
    std::vector<Change> record;
    do {
      record.push_back(
          {{"thawed", wire::to_hex(it->id)}, with_boot(Words{std::to_string(it->cookie), host})});
      ++it;
    } while (group != 0 && it != imports.end() && it->group == group);
    lines += as_record(record);
    std::ranges::move(record, std::back_inserter(all));
  }
  const std::vector<Change> over = decisions_before(imports);
  lines += text_of(over);
  std::ranges::copy(over, std::back_inserter(all));
  return append_or_fail(lines, std::move(all));
}

// Returns the ends of the decisions on connections that come back here. A listener may
// come back while its old socket is still there.
std::vector<Journal::Change> Journal::decisions_before(const std::vector<Thawing>& imports) const {
  std::vector<Change> over;
  const auto first = facts_.lower_bound({"committed", ""});
  if (first == facts_.end() || first->first.first != "committed") return over;
  std::map<std::string, std::uint64_t> generations;
  for (const Thawing& each : imports)
    if (!is_passive(each.tuple)) generations[to_string(each.tuple)] = each.generation;
  for (auto it = first; it != facts_.end() && it->first.first == "committed"; ++it) {
    const std::uint64_t generation = generation_of(it->second, kGenerationOfDecision);
    if (generation == 0) continue;
    const auto now = generations.find(it->second[1]);
    if (now != generations.end() && now->second > generation) over.push_back({it->first, {}});
  }
  return over;
}

void Journal::not_thawed(std::span<const wire::MigrationId> group, std::span<const Away> away) {
  std::vector<Change> changes;
  for (const auto& id : group)
    if (const Key key{"thawed", wire::to_hex(id)}; facts_.contains(key))
      changes.push_back({key, {}});
  for (const auto& [tuple, remote] : away)
    changes.push_back({{"away", to_string(tuple)}, words_of(remote)});
  if (changes.empty()) return;
  const std::string line = as_record(changes);
  append(line, std::move(changes));
}

Journal::Change Journal::left_daemon(const Key& thaw) const {
  Words words = facts_.at(thaw);
  words.front() = "0";
  return {thaw, std::move(words)};
}

void Journal::delivered(std::span<const wire::MigrationId> group) {
  std::vector<Change> changes;
  for (const auto& id : group) {
    const Key key{"thawed", wire::to_hex(id)};
    if (const auto fact = facts_.find(key); fact != facts_.end() && fact->second.front() != "0")
      changes.push_back(left_daemon(key));
  }
  if (changes.empty()) return;
  const std::string line = as_record(changes);
  append(line, std::move(changes));
}

std::map<wire::MigrationId, Thawed> Journal::thawed() const {
  std::map<wire::MigrationId, Thawed> out;
  for (const auto& [key, words] : facts_) {
    if (const auto id = key.first == "thawed" ? parse_id(key.second) : std::nullopt)
      out[*id] = {parse_number(words[0]).value_or(0), words.size() > 1 ? words[1] : "",
                  is_of_other_boot(words, kBootOfThaw)};
  }
  return out;
}

void Journal::acknowledged(const wire::MigrationId& id) {
  append({{{"committed", wire::to_hex(id)}, {}}});
}
void Journal::is_away(const FourTuple& tuple, const RemoteConnection& away) {
  append({{{"away", to_string(tuple)}, words_of(away)}});
}
void Journal::is_back(const FourTuple& tuple) {
  if (const Key key{"away", to_string(tuple)}; facts_.contains(key)) append({{key, {}}});
}

void Journal::add_imported(std::uint64_t cookie, const ImportedConnection& imported) {
  append({{{"resident", std::to_string(cookie)}, with_boot(words_of(imported))}});
}
void Journal::rehome(std::uint64_t cookie) {
  if (const Key key{"resident", std::to_string(cookie)}; facts_.contains(key)) append({{key, {}}});
}

std::uint64_t Journal::has_ended(const ImportedConnection& imported, std::uint64_t cookie) {
  const std::uint64_t number = ++last_number_;
  const Key before =
      cookie ? Key{"resident", std::to_string(cookie)} : Key{"away", to_string(imported.tuple)};
  append({{{"ended", std::to_string(number)}, words_of(imported)}, {before, {}}});
  return number;
}

void Journal::end_delivered(std::uint64_t number) {
  append({{{"ended", std::to_string(number)}, {}}});
}

void Journal::took_over(const TakenOver& address) {
  append({{{"taken", to_string(address.ip)}, words_of(address)}});
}
void Journal::gave_up(const IpAddress& address) {
  if (const Key key{"taken", to_string(address)}; facts_.contains(key)) append({{key, {}}});
}

std::vector<TakenOver> Journal::taken_over() const {
  std::vector<TakenOver> out;
  for (const auto& [key, words] : facts_) {
    if (key.first == "taken")
      if (auto address = read_taken_over(key.second, words)) out.push_back(std::move(*address));
  }
  return out;
}

std::map<FourTuple, RemoteConnection> Journal::away() const {
  std::map<FourTuple, RemoteConnection> out;
  for (const auto& [key, words] : facts_) {
    if (key.first != "away") continue;
    const auto tuple = parse_tuple(key.second);
    const auto away = read_away(words);
    if (tuple && away) out[*tuple] = *away;
  }
  return out;
}

std::map<std::uint64_t, ImportedConnection> Journal::imported(const std::string& verb) const {
  std::map<std::uint64_t, ImportedConnection> out;
  for (const auto& [key, words] : facts_) {
    if (key.first != verb) continue;
    const auto number = parse_number(key.second);
    const auto imported = read_imported(words);
    if (number && imported) out[*number] = *imported;
  }
  return out;
}

}  // namespace sockmi::daemon
