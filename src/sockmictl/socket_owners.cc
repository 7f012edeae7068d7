#include "sockmictl/socket_owners.h"

#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>

#include <fmt/format.h>

namespace sockmi::sockmictl {
namespace {

namespace files = std::filesystem;

template <class Number>
std::optional<Number> number_in(std::string_view text) {
  Number value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && rest == end ? std::optional(value) : std::nullopt;
}

// Returns the inode that a link such as "socket:[4711]" names.
std::optional<std::uint64_t> socket_inode(std::string_view link) {
  constexpr std::string_view kBegin = "socket:[";
  if (!link.starts_with(kBegin) || !link.ends_with(']')) return std::nullopt;
  return number_in<std::uint64_t>(link.substr(kBegin.size(), link.size() - kBegin.size() - 1));
}

// Without exceptions: processes end, and descriptors are closed, meanwhile.
template <class Each>
void for_each_entry(const files::path& folder, Each each) {
  std::error_code error;
  for (files::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error))
    each(entry->path());
}

}  // namespace

SocketOwners socket_owners() {
  SocketOwners out;
  for_each_entry("/proc", [&](const files::path& process) {
    const auto pid = number_in<pid_t>(process.filename().native());
    if (!pid) return;
    for_each_entry(process / "fd", [&](const files::path& descriptor) {
      std::error_code error;
      const files::path link = files::read_symlink(descriptor, error);
      const auto inode = error ? std::nullopt : socket_inode(link.native());
      if (!inode) return;
      std::vector<pid_t>& owners = out[*inode];
      if (owners.empty() || owners.back() != *pid) owners.push_back(*pid);
    });
  });
  return out;
}

std::string program_of(pid_t process) {
  std::ifstream file(fmt::format("/proc/{}/comm", process));
  std::string name;
  std::getline(file, name);
  return name;
}

}  // namespace sockmi::sockmictl
