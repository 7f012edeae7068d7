// Measures how long a barrier takes (steer/rcu_barrier.cc) while packets are processed: a
// thread sends datagrams to itself. Prints {"barrier_p50_us": N}.
#include <netinet/in.h>
#include <sys/socket.h>

#include <thread>

#include <nlohmann/json.hpp>

#include "base/unique_fd.h"
#include "steer/rcu_barrier.h"
#include "stopwatch.h"

using namespace sockmi;
using namespace sockmi::bench;

namespace {

constexpr int kBarriers = 200;

void send_to_itself(std::stop_token stop) {
  const unique_fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in own{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof own;
  auto* address = reinterpret_cast<sockaddr*>(&own);
  must(::bind(socket.get(), address, size) == 0 &&
           ::getsockname(socket.get(), address, &size) == 0 &&
           ::connect(socket.get(), address, size) == 0,
       "socket");
  for (char byte = 0; !stop.stop_requested();)
    if (::send(socket.get(), &byte, 1, 0) == 1) (void)!::recv(socket.get(), &byte, 1, 0);
}

}  // namespace

int main() {
  const std::jthread traffic(send_to_itself);
  std::vector<double> times;
  for (int i = 0; i < kBarriers; ++i) {
    std::this_thread::sleep_for(
        std::chrono::microseconds(500));  // the daemon, too, does other work before
    times.push_back(time_of([] { must(steer::barrier().has_value(), "barrier"); }));
  }
  std::puts(nlohmann::json{{"barrier_p50_us", median(times)}}.dump().c_str());
}
