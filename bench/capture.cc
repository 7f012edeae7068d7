// Measures how long it takes to move a connection from one socket to another, by the size
// of its receive queue: freeze, capture, restore, thaw. As in the daemons, the
// application's settings are read before the freeze, and the old socket is destroyed
// after the point of no return: neither delays the peer. The settings are measured
// separately, the destruction is not measured. Prints one JSON object.
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <nlohmann/json.hpp>

#include "base/unique_fd.h"
#include "stopwatch.h"
#include "tcp/capture.h"
#include "tcp/restore.h"

using namespace sockmi;
using namespace sockmi::bench;

namespace {

constexpr int kMoves = 400, kBuffer = 8 << 20;
constexpr tcp::Marks kNoMarks{1, 1};  // no rule uses them

struct Pair {
  unique_fd ours, theirs;
};

// Connects over loopback, with room for any queue, but as if no application had set a
// buffer size.
Pair connection() {
  unique_fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      theirs(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  auto* name = reinterpret_cast<sockaddr*>(&address);
  socklen_t size = sizeof address;
  for (const int fd : {listener.get(), theirs.get()})
    for (const int option : {SO_RCVBUFFORCE, SO_SNDBUFFORCE})
      must(::setsockopt(fd, SOL_SOCKET, option, &kBuffer, sizeof kBuffer) == 0, "buffer");
  must(::bind(listener.get(), name, size) == 0 && ::listen(listener.get(), 1) == 0 &&
           ::getsockname(listener.get(), name, &size) == 0,
       "listen");
  must(::connect(theirs.get(), name, size) == 0, "connect");
  unique_fd ours(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const int none = 0;
  must(ours && ::setsockopt(ours.get(), SOL_SOCKET, SO_BUF_LOCK, &none, sizeof none) == 0,
       "accept");
  return {std::move(ours), std::move(theirs)};
}

int unread(int fd) {
  int bytes = -1;
  ::ioctl(fd, SIOCINQ, &bytes);
  return bytes;
}

struct Costs {
  double settings, move;  // microseconds
};

Costs costs(int queue) {
  Pair pair = connection();
  const std::vector<char> bytes(static_cast<std::size_t>(queue), 'x');
  must(::send(pair.theirs.get(), bytes.data(), bytes.size(), 0) == queue, "send");
  while (unread(pair.ours.get()) < queue) {
  }
  std::vector<double> readings, moves;
  for (int i = 0; i < kMoves; ++i) {
    tcp::Settings settings;
    readings.push_back(
        time_of([&] { settings = tcp::read_settings(pair.ours.get(), AF_INET, false); }));
    const auto owner = tcp::OriginalOptions::of(pair.ours.get());
    must(owner.has_value(), "owner");
    std::optional<tcp::FrozenSocket> frozen;
    wire::TcpT image;
    tcp::FreezeDelta delta;
    const double out = time_of([&] {
      auto done = tcp::FrozenSocket::freeze(pair.ours.get(), *owner, kNoMarks, std::move(settings));
      must(done.has_value(), "freeze");
      frozen.emplace(std::move(*done));
      auto captured = frozen->capture();
      must(captured.has_value(), "capture");
      image = std::move(*captured);
      auto received = frozen->received_since(image);
      must(received.has_value(), "the last look");
      delta = std::move(*received);
    });
    must(frozen->destroy_silently().has_value(), "kill");
    pair.ours.reset();
    const double in = time_of([&] {
      auto restored = tcp::RestoredSocket::restore(image, kNoMarks, false);
      must(restored.has_value(), "restore");
      must(restored->receive(delta).has_value(), "what came late");
      auto live = std::move(*restored).thaw();
      must(live.has_value(), "thaw");
      pair.ours = std::move(*live);
    });
    must(unread(pair.ours.get()) == queue, "the receive queue");
    moves.push_back(out + in);
  }
  return {median(readings), median(moves)};
}

}  // namespace

int main() {
  const Costs empty = costs(0);
  const nlohmann::json out{{"read_settings_p50_us", empty.settings},
                           {"capture_restore_0_p50_us", empty.move},
                           {"capture_restore_64k_p50_us", costs(64 << 10).move},
                           {"capture_restore_1m_p50_us", costs(1 << 20).move}};
  std::puts(out.dump().c_str());
}
