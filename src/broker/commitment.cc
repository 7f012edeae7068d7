#include "broker/commitment.h"

#include <algorithm>

#include "base/log.h"

namespace sockmi::broker {
namespace {

// When another host answered, by our clock: as far from the middle of the round trip as it took over its answer (as NTP has it).
Clock::time_point answered_at(Clock::time_point sent, Clock::time_point received, std::chrono::microseconds took) {
  return received - std::max(Clock::duration(0), received - sent - took) / 2;
}

// Whoever answers, answers for good: an endpoint is lost with the importer's memory of it, and asking again will not bring it back.
void report_refusals(const std::vector<image::Committed>& endpoints, const std::string& host, ByteView reply) {
  const auto verdicts = image::read_verdicts(reply, endpoints.size());
  for (std::size_t i = 0; i < endpoints.size(); ++i)
    if (const auto verdict = verdicts ? (*verdicts)[i] : Result<>(std::unexpected(verdicts.error())); !verdict)
      log::error("event=commit_refused migration={} host={} error=\"{}\"", image::to_hex(endpoints[i].id), host, to_string(verdict.error()));
}

}  // namespace

asio::awaitable<void> repeat_commit(World& world, peer::Choice importer, std::shared_ptr<Commitment> commitment) {
  const auto& endpoints = commitment->endpoints;
  for (milliseconds pause{20};; pause = std::min(2 * pause, milliseconds(5000))) {
    const auto sent = Clock::now();
    auto reply = co_await world.transfer->call(importer.host, importer.line, image::pack_commit(endpoints), milliseconds(1000));
    if (reply) {
      commitment->thawed = answered_at(sent, Clock::now(), image::read_took(*reply).value_or(std::chrono::microseconds(0)));
      commitment->answered.set();
      report_refusals(endpoints, importer.host, *reply);
      break;
    }
    log::warn("event=commit_repeated migration={} count={} host={} error=\"{}\"", image::to_hex(endpoints.front().id), endpoints.size(), importer.host,
              to_string(reply.error()));
    co_await sleep_for(pause);
  }
  co_await commitment->killed.wait();
  for (const auto& one : endpoints) world.journal.acknowledged(one.id);
}

}  // namespace sockmi::broker
