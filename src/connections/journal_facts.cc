#include "connections/journal_facts.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <ranges>

#include "base/percent.h"

namespace sockmi::daemon::facts {
namespace {

constexpr std::size_t kLongestLine = 4096;
constexpr const char* kTogether = "together";
// Each verb with the least number of words behind its key.
const std::map<std::string, std::size_t> kVerbs = {{"committed", 0}, {"thawed", 1}, {"away", 5},
                                                   {"resident", 6},  {"ended", 6},  {"taken", 3}};

bool is_plain(unsigned char c) {
  return c > ' ' && c < 0x7f && c != '%';
}

Words words_in(const std::string& line) {
  Words words;
  for (const auto word : std::views::split(line, ' '))
    words.push_back(percent_decode({word.begin(), word.end()}));
  return words;
}

bool is_printable(const std::string& line) {
  return std::ranges::all_of(line, [](const char c) { return c >= ' ' && c < 0x7f; });
}

std::optional<Change> read_fact(const std::string& line) {
  Words words = words_in(line);
  if (words.size() < 2 || line.size() > kLongestLine || !is_printable(line)) return std::nullopt;
  const bool ends = words[0].starts_with('-');
  const Key key{words[0].substr(ends), words[1]};
  words.erase(words.begin(), words.begin() + 2);
  if (ends && !key.first.empty()) return Change{key, std::nullopt};
  return !ends && is_fact(key, words) ? std::optional(Change{key, std::move(words)}) : std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> parse_number(const std::string& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::uint64_t generation_of(const Words& words, std::size_t at) {
  return words.size() > at ? parse_number(words[at]).value_or(0) : 0;
}

std::optional<wire::MigrationId> parse_id(const std::string& text) {
  wire::MigrationId id{};
  if (text.size() != 2 * id.size()) return std::nullopt;
  for (std::size_t i = 0; i < id.size(); ++i) {
    if (std::from_chars(&text[2 * i], &text[2 * i + 2], id[i], 16).ptr != &text[2 * i + 2])
      return std::nullopt;
  }
  return id;
}

Result<FourTuple> parse_tuple(const std::string& text) {
  const auto arrow = text.find("<-");
  if (arrow == text.npos) return fail(EINVAL, "invalid connection '{}'", text);
  TRY_LET(local, SocketAddress::parse(text.substr(0, arrow)));
  // Bound or listening.
  if (text.substr(arrow + 2) == to_string(SocketAddress())) return FourTuple{local, {}};
  TRY_LET(remote, SocketAddress::parse(text.substr(arrow + 2)));
  return FourTuple{local, remote};
}

Words words_of(const RemoteConnection& away) {
  Words words{away.service, away.host, to_string(away.address), away.home,
              to_string(away.home_control)};
  if (away.container) words.push_back("container");
  if (away.generation) words.push_back(std::to_string(away.generation));
  return words;
}

Words words_of(const ImportedConnection& it) {
  return {to_string(it.tuple),          it.service, it.home,
          to_string(it.home_control),   it.from,    to_string(it.from_control),
          std::to_string(it.generation)};
}

Result<RemoteConnection> read_away(const Words& words) {
  TRY_LET(address, IpAddress::parse(words[2]));
  TRY_LET(control_address, SocketAddress::parse(words[4]));
  const bool container = words.size() > 5 && words[5] == "container";
  return RemoteConnection{words[0],
                          words[1],
                          address,
                          words[3],
                          control_address,
                          container,
                          generation_of(words, 5u + container),
                          {}};
}

Result<ImportedConnection> read_imported(const Words& words) {
  TRY_LET(tuple, parse_tuple(words[0]));
  TRY_LET(home_control, SocketAddress::parse(words[3]));
  TRY_LET(from_control, SocketAddress::parse(words[5]));
  return ImportedConnection{
      tuple, words[1], words[2], home_control, words[4], from_control, generation_of(words, 6)};
}

Words words_of(const TakenOver& it) {
  Words words{std::to_string(it.prefix), it.interface, it.from};
  if (it.deprecated) words.push_back("deprecated");
  return words;
}

Result<TakenOver> read_taken_over(const std::string& address, const Words& words) {
  TRY_LET(ip, IpAddress::parse(address));
  const auto prefix = parse_number(words[0]);
  if (!prefix || *prefix > ip.size() * 8)
    return fail(EINVAL, "invalid prefix length '{}'", words[0]);
  return TakenOver{ip, static_cast<unsigned>(*prefix), words[1], words[2],
                   words.size() > 3 && words[3] == "deprecated"};
}

std::string line_of(const Key& key, const Words* words) {
  std::string line = (words ? "" : "-") + key.first + " " + percent_encode(key.second, is_plain);
  if (words) {
    for (const std::string& word : *words)
      line += " " + percent_encode(word, is_plain);
  }
  return line + "\n";
}

bool is_fact(const Key& key, const Words& words) {
  const auto verb = kVerbs.find(key.first);
  if (verb == kVerbs.end()) return !key.first.empty();
  if (words.size() < verb->second) return false;
  if (key.first == "committed") {
    return parse_id(key.second) &&
           (words.empty() ||
            (words.size() >= 5 && parse_number(words[0]) && parse_tuple(words[1]) &&
             (words[2].empty() || SocketAddress::parse(words[3])) && parse_number(words[4]) &&
             (words.size() < 6 || parse_id(words[5])) &&
             (words.size() < 7 || parse_number(words[6]))));
  }
  if (key.first == "away") return parse_tuple(key.second) && read_away(words);
  if (key.first == "thawed") return parse_id(key.second) && parse_number(words[0]);
  if (key.first == "taken") return read_taken_over(key.second, words).has_value();
  if (key.first == "resident" || key.first == "ended")
    return parse_number(key.second) && read_imported(words);
  return true;
}

std::string text_of(const std::vector<Change>& changes) {
  std::string all;
  for (const Change& change : changes)
    all += line_of(change.key, change.words ? &*change.words : nullptr);
  return all;
}

std::string as_record(const std::vector<Change>& changes) {
  if (changes.size() == 1) return text_of(changes);
  std::string all = fmt::format("{} {}", kTogether, changes.size());
  for (const Change& change : changes) {
    std::string line = line_of(change.key, change.words ? &*change.words : nullptr);
    line.pop_back();
    all += " " + percent_encode(line, is_plain);
  }
  return all + "\n";
}

std::optional<std::vector<Change>> read_line(const std::string& line) {
  std::vector<Change> changes;
  const Words words = words_in(line);
  if (words.empty() || words.front() != kTogether) {
    auto change = read_fact(line);
    if (!change) return std::nullopt;
    changes.push_back(std::move(*change));
    return changes;
  }
  if (words.size() < 2 || line.size() > kLongestRecord || !is_printable(line) ||
      parse_number(words[1]) != words.size() - 2)
    return std::nullopt;
  for (const std::string& fact : std::views::drop(words, 2)) {
    auto change = read_fact(fact);
    if (!change) return std::nullopt;
    changes.push_back(std::move(*change));
  }
  return changes;
}

}  // namespace sockmi::daemon::facts
