// A token that two processes share and that one of them gets. Each so knows what the other will never do, even if the other stands still, or dies.
#pragma once

#include "base/error.h"
#include "base/unique_fd.h"

namespace sockmi {

class Token {
 public:
  static Result<Token> make();
  // One that another process has made. EBADF: the descriptor is something else.
  static Result<Token> adopt(unique_fd fd);

  // True: it is ours, now or since earlier. False: the other has it, for ever. Never waits, whatever the other does with it.
  bool take();
  // Whether the other has it. False means nothing: it may take it next.
  bool is_lost() const;
  int fd() const { return fd_.get(); }

 private:
  explicit Token(unique_fd fd) : fd_(std::move(fd)) {}
  unique_fd fd_;  // an eventfd that counts one, until somebody reads it
  bool ours_ = false;
};

}  // namespace sockmi
