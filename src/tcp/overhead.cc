#include "tcp/overhead.h"

#include <sys/socket.h>

#include <cstdint>
#include <cstring>

namespace sockmi::tcp {
namespace {

// Twice the window of a connection that has received little.
constexpr std::uint32_t kWide = 128 << 10;

std::size_t receive_buffer(const wire::TcpT& image) {
  int size = 0;
  for (const auto& option : image.options) {
    if (option && option->level == SOL_SOCKET && option->name == SO_RCVBUF &&
        option->value.size() == sizeof size)
      std::memcpy(&size, option->value.data(), sizeof size);
  }
  return size > 0 ? static_cast<std::size_t>(size) : 0;
}

// The window clamp follows from the buffer's size and from what was measured. If the
// buffer has grown since then, the clamp looks smaller.
bool has_little_overhead(const wire::TcpT& image) {
  return 10 * std::size_t(image.window_clamp) >= 4 * receive_buffer(image);
}

}  // namespace

std::size_t sample_size(const wire::TcpT& image) {
  if (image.window_clamp <= kWide || image.mss > kLargestSegment || !has_little_overhead(image))
    return 0;
  std::size_t size = kLargestSegment;
  while (size / 2 >= image.mss && size > kLeastMeasured)
    size /= 2;
  return size;
}

}  // namespace sockmi::tcp
