// delay_box PORT_A PORT_B --delay-ms 20 [--rate-mbit N [--queue-ms N]]
//
// A long wire between two Ethernet interfaces of this network namespace. What arrives at
// one interface leaves by the other that many milliseconds later, in order (so a round
// trip takes twice that). With a rate, it leaves no faster than that, after a queue of
// --queue-ms (default 50) whose overflow is dropped. Prints "ready". On SIGTERM it ends
// and prints what passed and what was dropped.
//
// It replaces netem, which not every kernel has, and needs no privilege beyond
// CAP_NET_RAW in its namespace. Frames arrive in a mapped ring, whose size no sysctl
// limits, and carry a virtio header. So the large segments of a sender with segmentation
// offload pass whole, with their checksums still to be computed, as they would pass a
// bridge. This makes some hundred Mbit/s possible for a fraction of one core.
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <CLI/CLI.hpp>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

constexpr std::size_t kVirtioHeader = 10;  // struct virtio_net_hdr; its header file is not C++
constexpr unsigned kFrame = 68 << 10, kFrames = 512;  // a frame holds the largest segment there is
constexpr unsigned kBlock = kFrame;  // one frame each: large blocks may not be available
constexpr std::size_t kHeld = 256 << 20,
                      kBatch = 64;  // bytes on the wire, one way; frames sent by one call
volatile sig_atomic_t ended = 0;

[[noreturn]] void fail_errno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

class Port {
 public:
  explicit Port(const std::string& name) : fd_(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)) {
    if (fd_ < 0) fail_errno("packet socket");
    set(PACKET_VERSION, int(TPACKET_V2));
    set(PACKET_VNET_HDR, 1);
    set(PACKET_IGNORE_OUTGOING, 1);  // the program's own frames are ignored
    set(PACKET_QDISC_BYPASS, 1);
    set(PACKET_RX_RING, tpacket_req{.tp_block_size = kBlock,
                                    .tp_block_nr = kFrames,
                                    .tp_frame_size = kFrame,
                                    .tp_frame_nr = kFrames});
    ring_ = static_cast<std::uint8_t*>(
        ::mmap(nullptr, std::size_t(kFrame) * kFrames, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
    if (ring_ == MAP_FAILED) fail_errno("mapping the ring");
    const sockaddr_ll address{.sll_family = AF_PACKET,
                              .sll_protocol = htons(ETH_P_ALL),
                              .sll_ifindex = int(::if_nametoindex(name.c_str()))};
    if (address.sll_ifindex == 0) fail_errno(name);
    if (::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      fail_errno("bind to " + name);
  }

  int fd() const { return fd_; }

  // Returns the frames for which the ring had no room: this program was too slow.
  unsigned missed() const {
    tpacket_stats statistics{};
    socklen_t size = sizeof statistics;
    return ::getsockopt(fd_, SOL_PACKET, PACKET_STATISTICS, &statistics, &size) == 0
               ? statistics.tp_drops
               : 0;
  }

  // Calls `each` with a virtio header and its frame, once for each frame that has
  // arrived.
  template <class Each>
  void receive(Each&& each) {
    for (unsigned i = 0; i < kFrames; ++i) {
      auto* header = reinterpret_cast<tpacket2_hdr*>(ring_ + std::size_t(at_) * kFrame);
      std::atomic_ref status(header->tp_status);
      if ((status.load(std::memory_order_acquire) & TP_STATUS_USER) == 0) return;
      if (header->tp_snaplen == header->tp_len) {
        const auto* frame =
            reinterpret_cast<const std::uint8_t*>(header) + header->tp_mac - kVirtioHeader;
        each(frame, header->tp_snaplen + kVirtioHeader);
      }
      status.store(TP_STATUS_KERNEL, std::memory_order_release);
      at_ = (at_ + 1) % kFrames;
    }
  }

 private:
  template <class T>
  void set(int name, const T& value) {
    if (::setsockopt(fd_, SOL_PACKET, name, &value, sizeof value) != 0)
      fail_errno("packet socket option " + std::to_string(name));
  }

  int fd_;  // closed with the program
  std::uint8_t* ring_;
  unsigned at_ = 0;
};

struct Link {
  nanoseconds delay, queue;
  double bits_per_ns;  // 0: unlimited

  nanoseconds duration(std::size_t bytes) const {
    return nanoseconds(bits_per_ns > 0 ? std::int64_t(8.0 * double(bytes) / bits_per_ns) : 0);
  }
};

// One direction. The queue before the slow part needs no storage of its own, because the
// waiting time of a frame is known when it arrives.
class Wire {
 public:
  Wire(const Link& link, Port& in, Port& out) : link_(link), in_(in), out_(out) {}

  void take(Clock::time_point now) {
    in_.receive([&](const std::uint8_t* bytes, std::size_t size) {
      const auto begins = std::max(now, free_);
      if (begins - now > link_.queue || held_ + size > kHeld) {
        ++dropped_;
        return;
      }
      free_ = begins + link_.duration(size - kVirtioHeader);
      frames_.push_back({free_ + link_.delay, {bytes, bytes + size}});
      held_ += size;
      ++passed_;
    });
  }

  void let_out(Clock::time_point now) {
    while (!frames_.empty() && frames_.front().leaves <= now) {
      std::array<mmsghdr, kBatch> messages{};
      std::array<iovec, kBatch> parts;
      unsigned count = 0;
      for (; count < std::min(kBatch, frames_.size()) && frames_[count].leaves <= now; ++count) {
        parts[count] = {frames_[count].bytes.data(), frames_[count].bytes.size()};
        messages[count].msg_hdr.msg_iov = &parts[count];
        messages[count].msg_hdr.msg_iovlen = 1;
      }
      // The kernel may refuse one frame (ENOBUFS if the other end is full, EMSGSIZE,
      // ENETDOWN). That frame is lost, as on any wire.
      const int sent = ::sendmmsg(out_.fd(), messages.data(), count, 0);
      if (sent < 0 && errno == EINTR) return;
      if (sent <= 0) ++dropped_;
      for (int i = 0; i < std::max(sent, 1); ++i) {
        held_ -= frames_.front().bytes.size();
        frames_.pop_front();
      }
    }
  }

  Clock::time_point next() const {
    return frames_.empty() ? Clock::time_point::max() : frames_.front().leaves;
  }
  std::string said() const {
    return std::to_string(passed_) + " passed, " + std::to_string(dropped_) + " dropped, " +
           std::to_string(in_.missed()) + " missed";
  }

 private:
  struct Frame {
    Clock::time_point leaves;
    std::vector<std::uint8_t> bytes;
  };
  const Link& link_;
  Port& in_;
  Port& out_;
  std::deque<Frame> frames_;
  Clock::time_point free_{};
  std::size_t held_ = 0, passed_ = 0, dropped_ = 0;
};

void run(const Link& link, const std::string& a, const std::string& b) {
  Port left(a), right(b);
  Wire wires[] = {{link, left, right}, {link, right, left}};
  pollfd readable[] = {{left.fd(), POLLIN, 0}, {right.fd(), POLLIN, 0}};
  ::prctl(PR_SET_TIMERSLACK, 1);  // nanosecond; otherwise timers are 50 us late
  const sched_param first{.sched_priority = 1};
  (void)::sched_setscheduler(
      0, SCHED_FIFO,
      &first);  // a wire does not wait for a processor; without the privilege, this one may
  std::puts("ready");
  std::fflush(stdout);
  while (!ended) {
    const auto now = Clock::now();
    auto next = Clock::time_point::max();
    for (auto& wire : wires) {
      wire.take(now);
      wire.let_out(now);
      next = std::min(next, wire.next());
    }
    const auto pause = std::max(
        nanoseconds(0), std::min<nanoseconds>(next - Clock::now(), std::chrono::seconds(1)));
    const timespec wait{.tv_sec = pause.count() / 1'000'000'000,
                        .tv_nsec = pause.count() % 1'000'000'000};
    (void)::ppoll(readable, 2, &wait, nullptr);
  }
  std::printf("%s to %s: %s; %s to %s: %s\n", a.c_str(), b.c_str(), wires[0].said().c_str(),
              b.c_str(), a.c_str(), wires[1].said().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"A wire of some length between two interfaces.", "delay_box"};
  std::string a, b;
  double delay = 0, rate = 0, queue = 50;
  app.add_option("PORT_A", a)->required();
  app.add_option("PORT_B", b)->required();
  app.add_option("--delay-ms", delay, "one way")->required()->check(CLI::Range(0.0, 10'000.0));
  app.add_option("--rate-mbit", rate, "0: as fast as it goes")->check(CLI::Range(0.0, 1e6));
  app.add_option("--queue-ms", queue, "how long a frame may wait for the rate")
      ->check(CLI::Range(0.0, 10'000.0));
  CLI11_PARSE(app, argc, argv);
  for (const int number : {SIGTERM, SIGINT}) {
    struct sigaction action {};  // no SA_RESTART: ppoll() ends
    action.sa_handler = [](int) {
      ended = 1;
    };
    ::sigaction(number, &action, nullptr);
  }
  const auto ns = [](double milliseconds) {
    return nanoseconds(std::int64_t(milliseconds * 1e6));
  };
  try {
    run({.delay = ns(delay), .queue = ns(queue), .bits_per_ns = rate / 1e3}, a, b);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "delay_box: %s\n", error.what());
    return 1;
  }
  return 0;
}
