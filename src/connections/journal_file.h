// The journal's file: lines that are appended whole or not at all, on a disk that may be full, slow or broken.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi::daemon {

class JournalFile {
 public:
  // Ends a line that could not be taken back after a write that failed halfway: such a line was not written, whatever is in it.
  static constexpr char kNotWritten = '\x18';

  // Nobody else has the folder while the descriptor lives. EBUSY: another process has it. A process that was killed is waited for a moment.
  static Result<unique_fd> lock(const std::filesystem::path& folder);
  // A file that is not there is empty. Any other error is an error: what can not be read may say anything.
  static Result<std::string> read(const std::filesystem::path& path);

  JournalFile() = default;
  explicit JournalFile(std::filesystem::path path) : path_(std::move(path)) {}

  // The file is made if it is not there. `torn`: its last line is not complete.
  Result<> open(bool torn);
  Result<> append(const std::string& lines);
  // What is appended in the next `bytes` bytes finds room, however full the disk becomes. Where the file system can not promise that, there is
  // room now.
  Result<> reserve(std::size_t bytes);

  // Another file takes this one's place, in one step. The first waits for the disk and touches nothing of ours; `rest` is appended to the other file.
  static Result<unique_fd> write_aside(const std::filesystem::path& path, const std::string& text);
  Result<> replace(unique_fd file, const std::string& rest);
  // The file as it is now keeps its place under another name beside it, should a new one take its own.
  Result<std::filesystem::path> keep_aside() const;

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  unique_fd file_;
  off_t reserved_until_ = 0;
  bool torn_ = false;
};

}  // namespace sockmi::daemon
