// Writes the journal's file: appends lines as a whole or not at all, on a disk that may
// be full, slow or broken.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::daemon {

class JournalFile {
 public:
  // Ends a line that could not be taken back after a write that failed halfway. Such a
  // line counts as not written, whatever it contains.
  static constexpr char kNotWritten = '\x18';

  // Locks the folder for as long as the descriptor lives. Errors: EBUSY if another
  // process has it; a process that was killed gets a moment to release it.
  static Result<unique_fd> lock(const std::filesystem::path& folder);
  // Reads the whole file. A file that does not exist is empty. Every other error is
  // returned: what cannot be read may contain anything.
  static Result<std::string> read(const std::filesystem::path& path);

  JournalFile() = default;
  explicit JournalFile(std::filesystem::path path) : path_(std::move(path)) {}

  // Opens the file, and creates it if it does not exist. `torn`: its last line is
  // incomplete.
  Result<> open(bool torn);
  Result<> append(const std::string& lines);
  // Makes sure that the next `bytes` bytes can be appended, however full the disk
  // becomes. If the file system cannot guarantee that, checks that there is enough space
  // now. Errors: ENOSPC.
  Result<> reserve(std::size_t bytes);

  // Replace this file by another one in one step. write_aside() waits for the disk and
  // changes nothing of ours; replace() first appends `rest` to the other file.
  static Result<unique_fd> write_aside(const std::filesystem::path& path, const std::string& text);
  Result<> replace(unique_fd file, const std::string& rest);
  // Keeps the present file under an additional name in the same folder, for the case that
  // a new file takes its place. Returns that name.
  Result<std::filesystem::path> keep_aside() const;
  // Returns the files that keep_aside() kept, in this process or an earlier one, and that
  // no operator has removed. What cannot be looked for counts as kept.
  std::vector<std::filesystem::path> kept() const;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  unique_fd file_;
  off_t reserved_until_ = 0;
  bool torn_ = false;
};

}  // namespace sockmi::daemon
