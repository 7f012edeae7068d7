#include "broker/leaving.h"

#include "base/log.h"

namespace sockmi::broker {

image::LateT to_image(tcp::Late late) {
  image::LateT out;
  out.bytes = std::move(late.bytes);
  out.fin = late.fin;
  out.acked = late.acked;
  out.window = late.window;
  out.all_acknowledged = late.all_acknowledged;
  out.written = std::move(late.written);
  out.finished = late.finished;
  out.read = late.read;
  return out;
}

tcp::Late from_image(const image::LateT& late) {
  return {late.bytes, late.fin, late.acked, late.window, late.all_acknowledged, late.written, late.finished, late.read};
}

image::StragglerT straggler_of(const Leaving& one, tcp::Late late) {
  const auto& image = one.endpoint.tcp;
  image::StragglerT straggler;
  straggler.local = to_string(one.tuple.local);
  straggler.remote = to_string(one.tuple.remote);
  straggler.seq = image.rcv_seq;
  straggler.ack = image.snd_seq - static_cast<std::uint32_t>(image.send_queue.size());
  straggler.window = static_cast<std::uint16_t>(image.window->snd_wnd() >> image.snd_wscale);
  straggler.late = std::make_unique<image::LateT>(to_image(std::move(late)));
  return straggler;
}

// COMMIT had all that was written before. Who was asleep in send(2) at that time may have woken since, though only if something was acknowledged.
void seal(Leaving& one) {
  if (!one.frozen) return;
  const auto rest = one.frozen->seal(one.endpoint.tcp);
  if (!rest) log::error("event=not_sealed connection={} error=\"{}\"", to_string(one.tuple), to_string(rest.error()));
  else if (!rest->written.empty()) log::error("event=written_too_late connection={} bytes={}", to_string(one.tuple), rest->written.size());
}

Result<> report(World& world, Leaving& one) {
  Record& record = one.record;
  const int error = one.result ? 0 : one.result.error().code;
  record.result = one.result ? "committed" : error == EINPROGRESS ? "in doubt" : error == ECONNABORTED ? "lost" : "aborted";
  if (!one.result) record.error = to_string(one.result.error());
  ++(one.result ? world.counters.exported : world.counters.failed);
  log::info("event=export migration={} service={} connection={} to={} result={} freeze_us={} error=\"{}\"", image::to_hex(record.id),
            record.service, to_string(record.tuple), record.to, record.result, record.freeze_us, record.error);
  world.remember(std::move(record));
  return std::move(one.result);
}

}  // namespace sockmi::broker
