// A token shared by two processes, of which only one can take it. The process that takes
// it knows what the other one will never do, even if the other one is stopped or dies.
#pragma once

#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi {

class Token {
 public:
  static Result<Token> make();
  // Uses a token that another process has made. Takes `fd`. Errors: EBADF if the
  // descriptor is not a token.
  static Result<Token> adopt(unique_fd fd);

  // Takes the token. Returns true if this process has it, now or since earlier; false if
  // the other process has it, which is final. Never blocks, whatever the other process
  // does with the token.
  bool take();
  // Whether the other process has the token. If false, the other process may still take
  // it next.
  bool is_lost() const;
  int fd() const { return fd_.get(); }

 private:
  explicit Token(unique_fd fd) : fd_(std::move(fd)) {}
  // An eventfd with count 1, until one process reads it.
  unique_fd fd_;
  bool ours_ = false;
};

}  // namespace sockmi
