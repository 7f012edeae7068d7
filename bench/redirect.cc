// A home's redirects by their number. Measures the time to add 10,000; the packets per
// second of one connection among 20,000 redirects against those of a connection whose
// redirect is the only one; and, because the redirects of a busy home are never in the
// processor's cache, the same for packets of all 20,000 connections in turn.
//
//     bench_redirect CLIENT HOME HOME IMPORTER
//         each is NAMESPACE=ADDRESS, all on one link, on interface "eth0"
//
// Packets are put on the client's wire, and counted when they arrive at the importer. One
// processor handles each of them all the way, starting with this program's call. Prints
// one JSON object.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <cmath>
#include <cstring>
#include <fstream>
#include <span>
#include <string>

#include <nlohmann/json.hpp>

#include "base/address.h"
#include "base/unique_fd.h"
#include "steer/nft_steering.h"
#include "stopwatch.h"

using namespace sockmi;
using namespace sockmi::bench;

namespace {

constexpr unsigned kMany = 20'000, kAdded = 10'000, kAdditions = 7, kTogether = 64;
constexpr int kSlices = 21;
constexpr auto kSlice = std::chrono::milliseconds(40);
constexpr std::uint16_t kFirstPort = 2000, kPort = 443;
constexpr const char* kInterface = "eth0";

struct Host {
  std::string name;
  IpAddress ip;

  explicit Host(const std::string& argument) : name(argument.substr(0, argument.find('='))) {
    const auto parsed = IpAddress::parse(argument.substr(argument.find('=') + 1));
    must(parsed && parsed->family == AF_INET, argument.c_str());
    ip = *parsed;
  }
  // In its namespace from here on.
  void enter() const {
    const unique_fd space(::open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC));
    must(space && ::setns(space.get(), CLONE_NEWNET) == 0, name.c_str());
  }
  std::array<unsigned char, ETH_ALEN> link_address() const {
    enter();
    const unique_fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strcpy(request.ifr_name, kInterface);
    must(::ioctl(any.get(), SIOCGIFHWADDR, &request) == 0, "SIOCGIFHWADDR");
    std::array<unsigned char, ETH_ALEN> out;
    std::memcpy(out.data(), request.ifr_hwaddr.sa_data, out.size());
    return out;
  }
  std::uint64_t packets_received() const {
    enter();
    std::ifstream devices("/proc/thread-self/net/dev");
    for (std::string word; devices >> word;) {
      if (word != std::string(kInterface) + ":") continue;
      std::uint64_t bytes = 0, packets = 0;
      devices >> bytes >> packets;
      return packets;
    }
    must(false, kInterface);
    return 0;
  }
};

// The part of a host's sockmid that concerns packets.
class Daemon {
 public:
  explicit Daemon(const Host& host) : host_(host) {
    host_.enter();
    auto made = steer::make_nft_steering({kInterface});
    must(made.has_value(), made ? "" : to_string(made.error()).c_str());
    steering_ = std::move(*made);
  }
  ~Daemon() {
    host_.enter();
    steering_.reset();
  }
  steer::Steering* operator->() const { return steering_.get(); }

 private:
  const Host& host_;
  std::unique_ptr<steer::Steering> steering_;
};

std::vector<FourTuple> connections(const Host& home, const Host& client, unsigned count) {
  std::vector<FourTuple> out;
  for (unsigned i = 0; i < count; ++i)
    out.push_back({{home.ip, kPort}, {client.ip, static_cast<std::uint16_t>(kFirstPort + i)}});
  return out;
}

void redirect(const Daemon& home, const std::vector<FourTuple>& tuples, const Host& to) {
  std::vector<steer::Redirect> redirects;
  for (const FourTuple& tuple : tuples)
    redirects.push_back({tuple, to.ip, std::chrono::minutes(10)});
  must(home->redirect(redirects).has_value(), "redirect");
}

double milliseconds_to_add(const Daemon& home, const std::vector<FourTuple>& tuples,
                           const Host& to) {
  std::vector<double> times;
  for (unsigned i = 0; i < kAdditions; ++i) {
    times.push_back(time_of([&] { redirect(home, tuples, to); }) / 1000);
    must(home->remove_redirects(tuples).has_value(), "remove");
  }
  return median(times);
}

struct Packet {
  ip network{};
  tcphdr transport{};
};

// Sends what a client sends to one home.
class Talk {
 public:
  Talk(const Host& client, const Host& home, std::span<const FourTuple> tuples) {
    const auto link = home.link_address();
    client.enter();
    socket_.reset(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    must(bool(socket_), "AF_PACKET");
    const auto interface = static_cast<int>(::if_nametoindex(kInterface));
    to_ = {.sll_family = AF_PACKET,
           .sll_protocol = htons(ETH_P_IP),
           .sll_ifindex = interface,
           .sll_halen = ETH_ALEN};
    std::copy(link.begin(), link.end(), to_.sll_addr);
    // The same number of packets for many connections and for one: otherwise those of one
    // connection would stay in the processor's cache.
    for (unsigned i = 0; i < kMany; ++i)
      packets_.push_back(packet(tuples[i % tuples.size()]));
  }
  // Sends for that long. Returns the number of packets.
  std::uint64_t talk(Clock::duration time) {
    std::uint64_t sent = 0;
    for (const auto began = Clock::now(); Clock::now() - began < time;)
      sent += send_some();
    return sent;
  }

 private:
  static Packet packet(const FourTuple& tuple) {
    Packet out;
    out.network.ip_v = 4;
    out.network.ip_hl = sizeof out.network / 4;
    out.network.ip_len = htons(sizeof out);
    out.network.ip_ttl = 64;
    out.network.ip_p = IPPROTO_TCP;
    std::memcpy(&out.network.ip_src, tuple.remote.ip.bytes.data(), 4);
    std::memcpy(&out.network.ip_dst, tuple.local.ip.bytes.data(), 4);
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < sizeof out.network / 2; ++i) {
      std::uint16_t word;
      std::memcpy(&word, reinterpret_cast<const char*>(&out.network) + 2 * i, 2);
      sum += word;
    }
    while (sum >> 16)
      sum = (sum & 0xffff) + (sum >> 16);
    out.network.ip_sum = static_cast<std::uint16_t>(~sum);
    out.transport.th_sport = htons(tuple.remote.port);
    out.transport.th_dport = htons(tuple.local.port);
    out.transport.th_off = sizeof out.transport / 4;
    out.transport.th_flags = TH_ACK;
    return out;
  }
  unsigned send_some() {
    iovec parts[kTogether];
    mmsghdr messages[kTogether]{};
    for (unsigned i = 0; i < kTogether; ++i) {
      parts[i] = {&packets_[next_], sizeof(Packet)};
      next_ = (next_ + 1) % packets_.size();
      messages[i].msg_hdr = {
          .msg_name = &to_, .msg_namelen = sizeof to_, .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    const int sent = ::sendmmsg(socket_.get(), messages, kTogether, 0);
    must(sent > 0, "sendmmsg");
    return static_cast<unsigned>(sent);
  }

  unique_fd socket_;
  sockaddr_ll to_{};
  std::vector<Packet> packets_;
  std::size_t next_ = 0;
};

// Compares packets to one home with packets to the other, in alternating slices. Address
// resolution takes place in the first ones.
double packets_ratio(Talk& many, Talk& one, const Host& importer) {
  const auto rate = [&](Talk& talk) {
    const auto before = importer.packets_received();
    const auto began = Clock::now();
    const auto sent = talk.talk(kSlice);
    const double time = microseconds(Clock::now() - began);
    const auto came = importer.packets_received() - before;
    must(came * 100 >= sent * 99, "packets do not come to the importer");
    return static_cast<double>(came) / time;
  };
  (void)many.talk(kSlice);
  (void)one.talk(kSlice);
  std::vector<double> ratios;
  for (int i = 0; i < kSlices; ++i) {
    const double first = rate(i % 2 ? many : one), second = rate(i % 2 ? one : many);
    ratios.push_back(i % 2 ? first / second : second / first);
  }
  return median(ratios);
}

// One home has one redirect and the other many, of which `talking` have packets. Then
// they change roles, because no two hosts are equally fast.
double redirects_ratio(unsigned talking, const Host& client,
                       const std::array<const Host*, 2>& homes,
                       const std::array<const Daemon*, 2>& daemons, const Host& importer) {
  double product = 1;
  for (const int one : {0, 1}) {
    const auto few = connections(*homes[one], client, 1),
               all = connections(*homes[1 - one], client, kMany);
    redirect(*daemons[one], few, importer);
    redirect(*daemons[1 - one], all, importer);
    Talk to_one(client, *homes[one], few),
        to_many(client, *homes[1 - one], std::span(all).first(talking));
    product *= packets_ratio(to_many, to_one, importer);
    must((*daemons[one])->remove_redirects(few) && (*daemons[1 - one])->remove_redirects(all),
         "remove");
  }
  return std::sqrt(product);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: bench_redirect CLIENT HOME HOME IMPORTER, each NAMESPACE=ADDRESS\n", stderr);
    return 2;
  }
  const Host client(argv[1]), home(argv[2]), other_home(argv[3]), importer(argv[4]);
  const Daemon here(home), over_there(other_home), there(importer);
  for (const Host* each : {&home, &other_home}) {
    std::vector<steer::ForeignAddress> foreign;
    for (const FourTuple& tuple : connections(*each, client, kMany))
      foreign.push_back({tuple, {}});
    must(there->add_foreign_addresses(foreign).has_value(), "add_foreign_addresses");
  }
  const double added = milliseconds_to_add(here, connections(home, client, kAdded), importer);
  const auto ratio = [&](unsigned talking) {
    return redirects_ratio(talking, client, {&home, &other_home}, {&here, &over_there}, importer);
  };
  const nlohmann::json out{{"redirect_add_10000_ms", added},
                           {"redirect_20000_over_1", ratio(1)},
                           {"redirect_20000_busy_over_1", ratio(kMany)}};
  std::puts(out.dump().c_str());
}
