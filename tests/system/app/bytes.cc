// Commands that send and receive. Mebibyte number N of a stream is what SHAKE128 makes of
// "SEED/N", here as in Python (hashlib.shake_128). So a byte that is lost, doubled or
// foreign cannot stay unnoticed.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>

#include <openssl/evp.h>

#include "app.h"

namespace app {
namespace {

constexpr std::size_t kPiece = 1 << 20, kBlock = 1 << 20;
constexpr int kQuiet = 300;  // milliseconds without new room: both ends' queues are full
using Digest = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

// Returns bytes `from` to `from` + `size` of the stream.
std::vector<std::uint8_t> stream(const std::string& seed, std::size_t from, std::size_t size) {
  std::vector<std::uint8_t> out(size), block(kBlock);
  const Digest digest(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  for (std::size_t at = 0, used; at < size; at += used) {
    const std::string name = seed + "/" + std::to_string((from + at) / kBlock);
    EVP_DigestInit_ex(digest.get(), EVP_shake128(), nullptr);
    EVP_DigestUpdate(digest.get(), name.data(), name.size());
    const std::size_t skipped = (from + at) % kBlock;
    used = std::min(size - at, kBlock - skipped);
    EVP_DigestFinalXOF(digest.get(), block.data(), skipped + used);
    std::memcpy(out.data() + at, block.data() + skipped, used);
  }
  return out;
}

void send_all(int fd, const std::uint8_t* at, std::size_t size) {
  while (size > 0) {
    const ssize_t sent = ::send(fd, at, size, MSG_NOSIGNAL);
    if (sent < 0) fail_errno("send");
    at += sent;
    size -= static_cast<std::size_t>(sent);
  }
}

// Reads until that many bytes have arrived, or the peer has ended the stream.
template <class Each>
bool receive_some(int fd, std::size_t count, Each&& each) {
  std::vector<std::uint8_t> piece(std::min(count, kPiece));
  while (count > 0) {
    const ssize_t got = ::recv(fd, piece.data(), std::min(count, piece.size()), 0);
    if (got < 0) fail_errno("recv");
    if (got == 0) return true;
    each(piece.data(), static_cast<std::size_t>(got));
    count -= static_cast<std::size_t>(got);
  }
  return false;
}

Json receive_hashed(int fd, std::size_t count) {
  const Digest digest(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr);
  std::size_t received = 0;
  const bool end = receive_some(fd, count, [&](const std::uint8_t* at, std::size_t size) {
    EVP_DigestUpdate(digest.get(), at, size);
    received += size;
  });
  unsigned char hash[32];
  EVP_DigestFinal_ex(digest.get(), hash, nullptr);
  std::string hex;
  for (const unsigned byte : hash) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return {{"bytes", received}, {"sha256", hex}, {"end", end}};
}

std::vector<std::uint8_t> receive_exactly(int fd, std::size_t size) {
  std::vector<std::uint8_t> out;
  errno = EPIPE;
  if (receive_some(fd, size, [&](const std::uint8_t* at, std::size_t got) {
        out.insert(out.end(), at, at + got);
      }))
    fail_errno("the peer ended");
  return out;
}

}  // namespace

Json send(Words& words) {
  const int fd = words.small();
  const std::string seed = words.word();
  const std::size_t from = words.size(), count = words.size();
  send_all(fd, stream(seed, from, count).data(), count);
  return Json::object();
}

Json fill(Words& words) {
  const int fd = words.small();
  const std::string seed = words.word();
  const std::size_t from = words.size(), most = words.size();
  const auto bytes = stream(seed, from, most);
  std::size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t sent =
        ::send(fd, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0)
      at += static_cast<std::size_t>(sent);
    else if (errno != EAGAIN)
      fail_errno("send");
    else if (!wait_ready(fd, POLLOUT, kQuiet))
      break;
  }
  return {{"bytes", at}};
}

Json receive(Words& words) {
  const int fd = words.small();
  return receive_hashed(fd, words.size());
}

Json receive_all(Words& words) {
  return receive_hashed(words.small(), SIZE_MAX);
}

Json echo(Words& words) {
  const int fd = words.small();
  const std::size_t size = words.size();
  for (auto times = words.number(); times > 0; --times) {
    const auto request = receive_exactly(fd, size);
    send_all(fd, request.data(), request.size());
  }
  return Json::object();
}

Json ask(Words& words) {
  const int fd = words.small();
  const std::size_t size = words.size();
  const auto times = words.size();
  const auto bytes = stream(words.word(), 0, size * times);
  std::minstd_rand random;
  std::uniform_int_distribution<useconds_t> think(0, static_cast<useconds_t>(words.number()));
  for (std::size_t at = 0; at < bytes.size(); at += size) {
    ::usleep(think(random));
    send_all(fd, bytes.data() + at, size);
    const auto reply = receive_exactly(fd, size);
    if (!std::equal(reply.begin(), reply.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at)))
      throw std::invalid_argument("another answer came");
  }
  return Json::object();
}

}  // namespace app
