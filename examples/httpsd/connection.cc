// The low-level SHA-256 functions are deprecated in OpenSSL 3. This file uses them
// because their context is a plain structure, so that the running hash of half an upload
// can move. An EVP_MD_CTX cannot be serialized.
#include "connection.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <cstring>

#include <fmt/core.h>
#include <openssl/err.h>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>

#include "examples/payload_generated.h"

namespace httpsd {
namespace {

namespace http = boost::beast::http;
constexpr std::size_t kPiece = 16384;  // one TLS record
constexpr std::size_t kLargestHead = 16384;

std::string hex(const unsigned char* bytes, std::size_t size) {
  std::string out;
  for (std::size_t i = 0; i < size; ++i)
    fmt::format_to(std::back_inserter(out), "{:02x}", bytes[i]);
  return out;
}

struct Range {
  std::uint64_t first, end;
};

// RFC 9110, 14.1.2; only the first range of "bytes=". Returns false if it cannot be
// satisfied.
bool parse_range(std::string_view text, std::uint64_t size, Range& out) {
  if (!text.starts_with("bytes=")) return true;  // a range in another unit is ignored
  text.remove_prefix(6);
  text = text.substr(0, text.find(','));
  const auto dash = text.find('-');
  if (dash == text.npos) return true;
  std::uint64_t first = 0, last = size - 1;
  const auto number = [](std::string_view digits, std::uint64_t& value) {
    const auto [end, error] = std::from_chars(digits.begin(), digits.end(), value);
    return error == std::errc() && end == digits.end();
  };
  if (dash == 0) {
    std::uint64_t suffix = 0;
    if (!number(text.substr(1), suffix)) return true;
    first = suffix < size ? size - suffix : 0;
  } else {
    if (!number(text.substr(0, dash), first)) return true;
    if (dash + 1 < text.size() && !number(text.substr(dash + 1), last)) return true;
  }
  if (first >= size || last < first) return false;
  out = {first, std::min(last, size - 1) + 1};
  return true;
}

}  // namespace

Connection::~Connection() {
  if (file_ >= 0) ::close(file_);
  ssl_.reset();
  if (fd_ >= 0) ::close(fd_);
}

void Connection::answer(int status, const std::string& text, const std::string& headers) {
  output_ += fmt::format(
      "HTTP/1.1 {} {}\r\nServer: httpsd/{}\r\nContent-Type: text/plain\r\nContent-Length: "
      "{}\r\nConnection: {}\r\n{}\r\n{}",
      status, std::string(http::obsolete_reason(static_cast<http::status>(status))), server_name_,
      text.size(), keep_alive_ ? "keep-alive" : "close", headers, text);
}

bool Connection::open_file() {
  if (file_ >= 0) ::close(file_);
  std::size_t start = path_.find_first_not_of('/');
  const std::string name = start == std::string::npos ? "." : path_.substr(start);
  open_how how{.flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
  file_ = static_cast<int>(::syscall(SYS_openat2, root_, name.c_str(), &how, sizeof how));
  return file_ >= 0;
}

void Connection::begin_response(const std::string& method, const std::string& target,
                                const std::string& range) {
  path_ = target.substr(0, target.find('?'));
  struct stat status {};
  if (!open_file() || ::fstat(file_, &status) != 0 || !S_ISREG(status.st_mode))
    return answer(404, "not found\n");
  const auto size = static_cast<std::uint64_t>(status.st_size);
  Range wanted{0, size};
  if (!range.empty() && !parse_range(range, size, wanted))
    return answer(416, "", fmt::format("Content-Range: bytes */{}\r\n", size));
  const bool part = wanted.first != 0 || wanted.end != size;
  output_ += fmt::format(
      "HTTP/1.1 {}\r\nServer: httpsd/{}\r\nContent-Type: "
      "application/octet-stream\r\nContent-Length: {}\r\nAccept-Ranges: bytes\r\n{}Connection: "
      "{}\r\n\r\n",
      part ? "206 Partial Content" : "200 OK", server_name_, wanted.end - wanted.first,
      part ? fmt::format("Content-Range: bytes {}-{}/{}\r\n", wanted.first, wanted.end - 1, size)
           : "",
      keep_alive_ ? "keep-alive" : "close");
  offset_ = wanted.first;
  end_ = method == "HEAD" ? offset_ : wanted.end;
}

void Connection::receive_body() {
  const std::size_t here = std::min<std::uint64_t>(input_.size(), body_left_);
  SHA256_Update(&digest_, input_.data(), here);
  input_.erase(0, here);
  body_left_ -= here;
  if (body_left_ > 0) return;
  unsigned char sum[SHA256_DIGEST_LENGTH];
  SHA256_Final(sum, &digest_);
  receiving_ = false;
  answer(200, hex(sum, sizeof sum) + "\n");
}

bool Connection::process_input() {
  if (receiving_) {
    const bool any = !input_.empty() || body_left_ == 0;
    if (any) receive_body();
    return any && !receiving_;
  }
  if (input_.empty()) return false;
  http::request_parser<http::empty_body> parser;
  parser.header_limit(kLargestHead);
  parser.body_limit(boost::none);
  boost::system::error_code error;
  const std::size_t used = parser.put(boost::asio::buffer(input_), error);
  if (error == http::error::need_more && input_.size() < kLargestHead) return false;
  if ((error && error != http::error::need_more) || !parser.is_header_done()) {
    keep_alive_ = false;
    input_.clear();
    answer(error == http::error::header_limit ? 431 : 400, "no HTTP request\n");
    return true;
  }
  input_.erase(0, used);
  const auto& head = parser.get();
  keep_alive_ = head.keep_alive();
  const std::string method(head.method_string()), target(head.target());
  fmt::print(stderr, "event=request request=\"{} {}\"\n", method, target);
  if (method == "GET" || method == "HEAD") {
    begin_response(method, target, std::string(head[http::field::range]));
  } else if (method != "POST") {
    keep_alive_ = false;
    answer(405, "GET, HEAD or POST\n", "Allow: GET, HEAD, POST\r\n");
  } else if (!parser.content_length()) {
    // The end of a chunk is known only inside the parser, and could not move.
    keep_alive_ = false;
    answer(411, "Content-Length is required\n");
  } else {
    body_left_ = *parser.content_length();
    receiving_ = true;
    SHA256_Init(&digest_);
    if (boost::beast::iequals(head[http::field::expect], "100-continue"))
      output_ += "HTTP/1.1 100 Continue\r\n\r\n";
    if (output_.empty()) receive_body();
  }
  return true;
}

void Connection::consume_output(std::size_t bytes) {
  const std::size_t head = std::min(bytes, output_.size());
  output_.erase(0, head);
  offset_ += bytes - head;
}

// The arguments of an SSL_write depend on output_, offset_ and end_ alone, so that they
// are the same again after an import.
Connection::Wants Connection::write_some() {
  char piece[kPiece];
  const char* data = output_.data();
  std::size_t size = std::min(output_.size(), kPiece);
  if (size == 0) {
    const ssize_t got = ::pread(file_, piece, std::min<std::uint64_t>(kPiece, end_ - offset_),
                                static_cast<off_t>(offset_));
    if (got <= 0) return Wants::close;  // the file shrank: the promised length cannot be kept
    data = piece;
    size = static_cast<std::size_t>(got);
  }
  const int sent = SSL_write(ssl_.get(), data, static_cast<int>(size));
  if (sent > 0) {
    consume_output(static_cast<std::size_t>(sent));
    return Wants::write;
  }
  return wants_after(sent);
}

Connection::Wants Connection::wants_after(int failed) {
  switch (SSL_get_error(ssl_.get(), failed)) {
    case SSL_ERROR_WANT_READ: return Wants::read;
    case SSL_ERROR_WANT_WRITE: return Wants::write;
    case SSL_ERROR_ZERO_RETURN: SSL_shutdown(ssl_.get()); return Wants::close;
    case SSL_ERROR_SSL:
      fmt::print(stderr, "event=tls_failed error=\"{}\"\n",
                 ERR_error_string(ERR_peek_error(), nullptr));
      return Wants::close;
    default: return Wants::close;  // the peer is gone
  }
}

Connection::Wants Connection::progress() {
  ERR_clear_error();
  // Returns to the event loop after this much, so that one fast client does not starve
  // the others.
  for (int turn = 0; turn < 64; ++turn) {
    while (!output_.empty() || offset_ < end_) {
      const auto before = std::pair(output_.size(), offset_);
      const Wants wants = write_some();
      if (before == std::pair(output_.size(), offset_)) return wants;
      if (++turn >= 64) return Wants::write;
    }
    if (receiving_ && process_input()) continue;
    if (!receiving_ && !keep_alive_) {
      const int closed = SSL_shutdown(ssl_.get());
      // What the other host's SSL had left unsent is sent before it.
      return closed < 0 && wants_after(closed) == Wants::write ? Wants::write : Wants::close;
    }
    if (!receiving_ && process_input()) continue;
    char bytes[kPiece];
    const int got = SSL_read(ssl_.get(), bytes, sizeof bytes);
    if (got > 0) {
      input_.append(bytes, static_cast<std::size_t>(got));
      continue;
    }
    return wants_after(got);
  }
  return Wants::write;  // continues in the next turn of the event loop
}

std::vector<std::uint8_t> Connection::payload() const {
  PayloadT state;
  state.input.assign(input_.begin(), input_.end());
  state.output.assign(output_.begin(), output_.end());
  state.path = path_;
  state.offset = offset_;
  state.end = end_;
  state.body_left = body_left_;
  state.receiving = receiving_;
  const auto* digest = reinterpret_cast<const std::uint8_t*>(&digest_);
  state.digest.assign(digest, digest + sizeof digest_);
  state.keep_alive = keep_alive_;
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(Payload::Pack(builder, &state));
  return {builder.GetBufferPointer(), builder.GetBufferPointer() + builder.GetSize()};
}

bool Connection::resume(const void* payload, std::size_t size, std::size_t taken) {
  flatbuffers::Verifier verifier(static_cast<const std::uint8_t*>(payload), size);
  if (size == 0 || !VerifyPayloadBuffer(verifier)) return false;
  PayloadT state;
  GetPayload(payload)->UnPackTo(&state);
  if (state.digest.size() != sizeof digest_ || state.offset > state.end ||
      state.input.size() > 2 * kLargestHead)
    return false;
  input_.assign(state.input.begin(), state.input.end());
  output_.assign(state.output.begin(), state.output.end());
  path_ = state.path;
  offset_ = state.offset;
  end_ = state.end;
  body_left_ = state.body_left;
  receiving_ = state.receiving;
  std::memcpy(&digest_, state.digest.data(), sizeof digest_);
  if (digest_.num >= sizeof digest_.data || digest_.md_len > SHA256_DIGEST_LENGTH)
    return false;  // an index into its own buffer
  keep_alive_ = state.keep_alive;
  if (offset_ < end_ && !open_file()) return false;
  if (taken > output_.size() + (end_ - offset_)) return false;
  consume_output(taken);
  return true;
}

}  // namespace httpsd
