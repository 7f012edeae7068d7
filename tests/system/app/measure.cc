// Commands that measure. Their bytes are zeros, and are not checked.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>

#include "app.h"

namespace app {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kMeasuredPiece = 256 << 10;

double microseconds(Clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

}  // namespace

Json pour(Words& words) {
  const int fd = words.small();
  const std::vector<char> zeros(kMeasuredPiece);
  for (std::size_t left = words.size(); left > 0;) {
    const ssize_t sent = ::send(fd, zeros.data(), std::min(left, zeros.size()), MSG_NOSIGNAL);
    if (sent < 0) fail_errno("send");
    left -= static_cast<std::size_t>(sent);
  }
  return Json::object();
}

Json sink(Words& words) {
  const int fd = words.small();
  std::vector<char> bytes(kMeasuredPiece);
  if (!wait_ready(fd, POLLIN, -1)) fail_errno("poll");
  const auto began = Clock::now();
  for (std::size_t left = words.size(); left > 0;) {
    const ssize_t got = ::recv(fd, bytes.data(), std::min(left, bytes.size()), 0);
    if (got == 0) errno = EPIPE;
    if (got <= 0) fail_errno("recv");
    left -= static_cast<std::size_t>(got);
  }
  return {{"us", microseconds(Clock::now() - began)}};
}

Json ping(Words& words) {
  const int fd = words.small();
  std::vector<double> trips;
  for (auto times = words.size(); times > 0; --times) {
    char byte = 0;
    const auto began = Clock::now();
    if (::send(fd, &byte, 1, MSG_NOSIGNAL) != 1) fail_errno("send");
    if (::recv(fd, &byte, 1, 0) != 1) fail_errno("recv");
    trips.push_back(microseconds(Clock::now() - began));
  }
  std::ranges::nth_element(trips, trips.begin() + static_cast<std::ptrdiff_t>(trips.size() / 2));
  return {{"us", trips[trips.size() / 2]}};
}

}  // namespace app
