#include "broker/journal.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <charconv>
#include <ctime>
#include <fstream>
#include <optional>
#include <sstream>

namespace sockmi::broker {
namespace {

std::optional<image::MigrationId> parse_hex(const std::string& text) {
  image::MigrationId id;
  if (text.size() != 2 * id.size()) return std::nullopt;
  for (std::size_t i = 0; i < id.size(); ++i) {
    const char* at = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(at, at + 2, id[i], 16);
    if (error != std::errc() || end != at + 2) return std::nullopt;
  }
  return id;
}

}  // namespace

Result<Journal> Journal::open(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fail(error.value(), "{}: {}", folder.string(), error.message());
  const auto path = folder / "journal";
  Journal journal;
  std::ifstream in(path, std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(in)), {});
  std::istringstream lines(all.substr(0, all.rfind('\n') + 1));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string verb, hex;
    words >> verb >> hex;
    const auto id = parse_hex(hex);
    if (!id) continue;
    if (verb == "committed") journal.committed_.insert(*id);
    if (verb == "acknowledged") journal.committed_.erase(*id);
  }
  // Only the open decisions are carried into the new file, which takes the old one's place in one step.
  const auto fresh = folder / "journal.new";
  journal.file_ = unique_fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (!journal.file_) return fail_errno(fresh.string());
  for (const auto& id : journal.committed_) TRY(journal.append(fmt::format("committed {}", image::to_hex(id))));
  if (::rename(fresh.c_str(), path.c_str()) != 0) return fail_errno(path.string());
  return journal;
}

Result<> Journal::append(const std::string& line) {
  const std::string whole = line + "\n";
  if (::write(file_.get(), whole.data(), whole.size()) != static_cast<ssize_t>(whole.size())) return fail_errno("journal");
  return {};
}

Result<> Journal::committed(const image::MigrationId& id, const std::string& host, const FourTuple& tuple) {
  TRY(append(fmt::format("committed {} time={} to={} connection={}", image::to_hex(id), std::time(nullptr), host, to_string(tuple))));
  committed_.insert(id);
  return {};
}

void Journal::acknowledged(const image::MigrationId& id) {
  (void)append("acknowledged " + image::to_hex(id));  // at worst an old decision is remembered longer
  committed_.erase(id);
}

}  // namespace sockmi::broker
