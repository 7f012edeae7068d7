#include "migration/stragglers.h"

#include <algorithm>

#include "tcp/overhead.h"

namespace sockmi::daemon {
namespace {

// The exporter has waited for its barrier, some milliseconds, and may have to reconnect.
constexpr std::chrono::seconds kStragglerLifetime{5};

}  // namespace

void Stragglers::forget_old() {
  for (const auto now = Clock::now(); !order_.empty() && order_.front().first < now;
       order_.pop_front()) {
    if (const auto it = expected_.find(order_.front().second);
        it != expected_.end() && it->second.until < now)
      expected_.erase(it);
  }
}

void Stragglers::expect(const std::string& host, const wire::TcpT& image, std::size_t delta_bytes,
                        std::uint64_t cookie) {
  forget_old();
  const FourTuple tuple = wire::tuple_of(image).unmapped();
  if (tuple.remote.port == 0 || !image.window) return;
  const auto until = Clock::now() + kStragglerLifetime;
  const std::size_t most = std::max(image.window->rcv_wnd(), image.window->max_window());
  expected_[tuple] = {host,
                      image.rcv_seq + static_cast<std::uint32_t>(delta_bytes),
                      image.snd_seq - static_cast<std::uint32_t>(image.send_queue.size()),
                      most,
                      until,
                      cookie,
                      tcp::next_after(image)};
  order_.emplace_back(until, tuple);
}

Result<Stragglers::Known> Stragglers::check(const std::string& host,
                                            const wire::StragglerT& straggler) {
  forget_old();
  TRY_LET(local, SocketAddress::parse(straggler.local));
  TRY_LET(remote, SocketAddress::parse(straggler.remote));
  const FourTuple tuple{local, remote};
  if (!straggler.delta) return fail(EBADMSG, "invalid straggler: no data");
  const auto it = expected_.find(tuple.unmapped());
  if (it == expected_.end() || it->second.host != host)
    return fail(EACCES, "host {} did not just move {} here", host, to_string(tuple));
  const Expected& expected = it->second;
  if (straggler.seq != expected.seq || straggler.ack != expected.ack ||
      straggler.delta->bytes.size() > expected.most)
    return fail(EACCES, "invalid straggler of {}: it does not fit the image", to_string(tuple));
  return Known{tuple, expected.cookie, expected.next};
}

}  // namespace sockmi::daemon
