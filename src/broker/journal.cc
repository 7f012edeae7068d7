#include "broker/journal.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <charconv>
#include <fstream>
#include <ranges>
#include <sstream>

#include "base/log.h"

namespace sockmi::broker {
namespace {

using Words = std::vector<std::string>;
constexpr std::size_t kLongestLine = 4096;
const std::map<std::string, std::size_t> kVerbs = {{"committed", 0}, {"away", 5}, {"resident", 6}, {"ended", 6}};  // and their words, at least

std::string encode(const std::string& text) {
  std::string out;
  for (const unsigned char c : text)
    if (c > ' ' && c < 0x7f && c != '%') out += static_cast<char>(c);
    else fmt::format_to(std::back_inserter(out), "%{:02x}", c);
  return out;
}

std::string decode(const std::string& word) {
  std::string out;
  for (std::size_t i = 0; i < word.size(); ++i) {
    unsigned char c = static_cast<unsigned char>(word[i]);
    if (c == '%' && i + 2 < word.size() && std::from_chars(&word[i + 1], &word[i + 3], c, 16).ptr == &word[i + 3]) i += 2;
    out += static_cast<char>(c);
  }
  return out;
}

std::optional<std::uint64_t> parse_number(const std::string& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Result<FourTuple> parse_tuple(const std::string& text) {
  const auto arrow = text.find("<-");
  if (arrow == text.npos) return fail(EINVAL, "'{}' is no connection", text);
  TRY_LET(local, SocketAddress::parse(text.substr(0, arrow)));
  if (text.substr(arrow + 2) == to_string(SocketAddress())) return FourTuple{local, {}};  // bound or listening
  TRY_LET(remote, SocketAddress::parse(text.substr(arrow + 2)));
  return FourTuple{local, remote};
}

Words words_of(const Away& away) {
  Words words{away.service, away.host, to_string(away.address), away.home, to_string(away.home_line)};
  if (away.container) words.push_back("container");
  return words;
}

Words words_of(const Resident& it) {
  return {to_string(it.tuple), it.service, it.home, to_string(it.home_line), it.from, to_string(it.from_line)};
}

Result<Away> read_away(const Words& words) {
  TRY_LET(address, IpAddress::parse(words[2]));
  TRY_LET(line, SocketAddress::parse(words[4]));
  return Away{words[0], words[1], address, words[3], line, words.size() > 5 && words[5] == "container"};
}

Result<Resident> read_resident(const Words& words) {
  TRY_LET(tuple, parse_tuple(words[0]));
  TRY_LET(home_line, SocketAddress::parse(words[3]));
  TRY_LET(from_line, SocketAddress::parse(words[5]));
  return Resident{tuple, words[1], words[2], home_line, words[4], from_line};
}

std::string line_of(const std::pair<std::string, std::string>& key, const Words* words) {
  std::string line = (words ? "" : "-") + key.first + " " + encode(key.second);
  if (words)
    for (const std::string& word : *words) line += " " + encode(word);
  return line + "\n";
}

}  // namespace

Result<Journal> Journal::open(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fail(error.value(), "{}: {}", folder.string(), error.message());
  TRY_LET(journal, look(folder));
  TRY(journal.compact());
  return journal;
}

Result<Journal> Journal::look(const std::filesystem::path& folder) {
  Journal journal;
  journal.path_ = folder / "journal";
  std::ifstream in(journal.path_, std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(in)), {});
  std::istringstream lines(all.substr(0, all.rfind('\n') + 1));
  for (std::string line; std::getline(lines, line);) {
    if (line.size() > kLongestLine) continue;
    Words words;
    for (const auto word : std::views::split(line, ' ')) words.push_back(decode({word.begin(), word.end()}));
    if (words.size() < 2) continue;
    const bool ends = words[0].starts_with('-');
    const Key key{words[0].substr(ends), words[1]};
    const auto verb = kVerbs.find(key.first);
    words.erase(words.begin(), words.begin() + 2);
    if (verb == kVerbs.end() || (!ends && words.size() < verb->second)) continue;
    journal.take({key, ends ? std::nullopt : std::optional(words)});
  }
  return journal;
}

void Journal::take(Change change) {
  if (change.key.first == "ended") last_number_ = std::max(last_number_, parse_number(change.key.second).value_or(0));
  if (change.words) facts_[std::move(change.key)] = std::move(*change.words);
  else facts_.erase(change.key);
}

// Only the facts are carried into a new file, which takes the old one's place in one step.
Result<> Journal::compact() {
  const std::filesystem::path fresh = path_.string() + ".new";
  unique_fd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (!file) return fail_errno(fresh.string());
  std::string all;
  for (const auto& [key, words] : facts_) all += line_of(key, &words);
  if (::write(file.get(), all.data(), all.size()) != static_cast<ssize_t>(all.size())) return fail_errno(fresh.string());
  if (::rename(fresh.c_str(), path_.c_str()) != 0) return fail_errno(path_.string());
  file_ = std::move(file);
  lines_ = facts_.size();
  return {};
}

Result<> Journal::append(std::vector<Change> changes) {
  std::string all;
  for (const Change& change : changes) all += line_of(change.key, change.words ? &*change.words : nullptr);
  const off_t end = ::lseek(file_.get(), 0, SEEK_END);
  if (::write(file_.get(), all.data(), all.size()) != static_cast<ssize_t>(all.size())) {
    auto failed = fail_errno("journal");
    (void)!::ftruncate(file_.get(), end);  // else the next line would go on where this one broke off
    return failed;
  }
  lines_ += changes.size();
  for (Change& change : changes) take(std::move(change));
  if (lines_ > 2 * facts_.size() + 10'000)
    if (auto done = compact(); !done) log::error("event=journal_not_compacted error=\"{}\"", to_string(done.error()));
  return {};
}

Result<> Journal::committed(const image::MigrationId& id, std::uint64_t cookie, const FourTuple& tuple, const std::optional<Away>& away) {
  std::vector<Change> changes{{{"committed", image::to_hex(id)}, Words{}}};
  const Key resident{"resident", std::to_string(cookie)};
  if (facts_.contains(resident)) changes.push_back({resident, {}});
  if (away) changes.push_back({{"away", to_string(tuple)}, words_of(*away)});
  return append(std::move(changes));
}

void Journal::acknowledged(const image::MigrationId& id) { (void)append({{{"committed", image::to_hex(id)}, {}}}); }
void Journal::is_away(const FourTuple& tuple, const Away& away) { (void)append({{{"away", to_string(tuple)}, words_of(away)}}); }
void Journal::is_back(const FourTuple& tuple) { (void)append({{{"away", to_string(tuple)}, {}}}); }

void Journal::lives_here(std::uint64_t cookie, const Resident& resident) {
  (void)append({{{"resident", std::to_string(cookie)}, words_of(resident)}});
}

void Journal::is_home(std::uint64_t cookie) { (void)append({{{"resident", std::to_string(cookie)}, {}}}); }

std::uint64_t Journal::has_ended(const Resident& resident, std::uint64_t cookie) {
  const std::uint64_t number = ++last_number_;
  const Key before = cookie ? Key{"resident", std::to_string(cookie)} : Key{"away", to_string(resident.tuple)};
  (void)append({{{"ended", std::to_string(number)}, words_of(resident)}, {before, {}}});
  return number;
}

void Journal::told(std::uint64_t number) { (void)append({{{"ended", std::to_string(number)}, {}}}); }

std::map<FourTuple, Away> Journal::away() const {
  std::map<FourTuple, Away> out;
  for (const auto& [key, words] : facts_) {
    if (key.first != "away") continue;
    const auto tuple = parse_tuple(key.second);
    const auto away = read_away(words);
    if (tuple && away) out[*tuple] = *away;
  }
  return out;
}

std::map<std::uint64_t, Resident> Journal::residents(const std::string& verb) const {
  std::map<std::uint64_t, Resident> out;
  for (const auto& [key, words] : facts_) {
    if (key.first != verb) continue;
    const auto number = parse_number(key.second);
    const auto resident = read_resident(words);
    if (number && resident) out[*number] = *resident;
  }
  return out;
}

}  // namespace sockmi::broker
