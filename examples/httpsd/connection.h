// One client: its request, and the progress of the answer. All of it can be serialized at
// any moment, and continued on another host.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <openssl/sha.h>
#include <openssl/ssl.h>

namespace httpsd {

struct SslFree {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
};
using SslPtr = std::unique_ptr<SSL, SslFree>;

class Connection {
 public:
  Connection(SslPtr ssl, int fd, int root, const std::string& server_name)
      : ssl_(std::move(ssl)),
        fd_(fd),
        root_(root),
        server_name_(server_name) {}
  Connection(const Connection&) = delete;
  ~Connection();

  enum class Wants { read, write, close };
  Wants progress();  // does what is possible without waiting

  std::vector<std::uint8_t> payload() const;
  // Returns false if the payload is not one of httpsd. `taken`: see
  // sockmi_write_taken(3).
  bool resume(const void* payload, std::size_t size, std::size_t taken);

  SSL* ssl() const { return ssl_.get(); }
  int fd() const { return fd_; }
  std::uint64_t offset() const { return offset_; }

 private:
  Wants write_some();
  Wants wants_after(int failed);  // `failed`: what SSL_read or SSL_write returned
  bool process_input();           // false: it needs more input
  void answer(int status, const std::string& text, const std::string& headers = "");
  void begin_response(const std::string& method, const std::string& target,
                      const std::string& range);
  void receive_body();
  bool open_file();
  void consume_output(std::size_t bytes);

  SslPtr ssl_;
  int fd_, root_, file_ = -1;
  const std::string& server_name_;
  std::string input_, output_, path_;
  std::uint64_t offset_ = 0, end_ = 0, body_left_ = 0;
  bool receiving_ = false, keep_alive_ = true;
  SHA256_CTX digest_{};
};

}  // namespace httpsd
