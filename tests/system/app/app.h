// Declarations that the parts of socket_app share.
#pragma once

#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

#include <nlohmann/json.hpp>

namespace app {

using Json = nlohmann::json;

[[noreturn]] inline void fail_errno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// The words of one command, read from left to right.
class Words {
 public:
  explicit Words(std::vector<std::string> words) : words_(std::move(words)) {}
  bool more() const { return at_ < words_.size(); }
  std::string word() {
    return more() ? words_[at_++] : throw std::invalid_argument("a word is missing");
  }
  std::int64_t number() { return std::stoll(word(), nullptr, 0); }
  int small() { return static_cast<int>(number()); }
  std::size_t size() { return static_cast<std::size_t>(number()); }

 private:
  std::vector<std::string> words_;
  std::size_t at_ = 0;
};

// Each function answers one command.
Json make_socket(Words&);
Json bind(Words&);
Json listen(Words&);
Json connect(Words&);
Json connect_later(Words&);
Json wait_connected(Words&);
Json disconnect(Words&);
Json accept(Words&);
Json shut_down(Words&);
Json close(Words&);
Json state(Words&);
Json set_option(Words&);
Json get_option(Words&);

Json send(Words&);
Json fill(Words&);
Json receive(Words&);
Json receive_all(Words&);
Json echo(Words&);
Json ask(Words&);

Json pour(Words&);
Json sink(Words&);
Json ping(Words&);

Json export_socket(Words&);
Json export_sockets(Words&);
Json export_groups(Words&);
Json import_groups(Words&);
Json import_socket(Words&);

// Waits until the descriptor is ready for these events of poll(2). Returns false after
// that many milliseconds.
bool wait_ready(int fd, short events, int timeout);

}  // namespace app
