#include "takeover/address_probe.h"

#include <unistd.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.h"
#include "context/async_event.h"
#include "net/neighbor.h"

namespace sockmi::daemon {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;

constexpr milliseconds kAnnouncementPauses[] = {
    milliseconds(0), milliseconds(100), milliseconds(400), milliseconds(1000), milliseconds(2000)};

asio::awaitable<void> wait_for_answer(asio::posix::stream_descriptor& descriptor,
                                      net::Probe& probe) {
  while (!probe.heard())
    co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
}

}  // namespace

asio::awaitable<Result<bool>> is_elsewhere(net::HostAddress address, ProbeEffort effort) {
  using namespace boost::asio::experimental::awaitable_operators;
  CO_TRY_LET(probe, net::Probe::open(address.ip, address.interface));
  asio::posix::stream_descriptor descriptor(co_await asio::this_coro::executor, ::dup(probe.fd()));
  for (int i = 0; i < effort.requests; ++i) {
    CO_TRY(probe.ask());
    if ((co_await (wait_for_answer(descriptor, probe) || sleep_for(effort.pause))).index() == 0)
      co_return true;
  }
  co_return false;
}

// A neighbour that missed the announcement of one second receives that of the next.
asio::awaitable<void> announce(net::HostAddress address) {
  for (const auto pause : kAnnouncementPauses) {
    co_await sleep_for(pause);
    if (auto announced = net::announce(address.ip, address.interface); !announced) {
      log::error("address_announce_failed",
                 {{"address", address.ip}, {"error", announced.error()}});
    }
  }
}

}  // namespace sockmi::daemon
