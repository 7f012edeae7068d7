#include "migration/export_state.h"

#include "base/log.h"
#include "migration/delta_files.h"

namespace sockmi::daemon {

wire::FreezeDeltaT to_image(tcp::FreezeDelta late) {
  wire::FreezeDeltaT out;
  out.bytes = std::move(late.bytes);
  out.fin = late.fin;
  out.acked = late.acked;
  out.window = late.window;
  out.all_acknowledged = late.all_acknowledged;
  out.written = std::move(late.written);
  out.finished = late.finished;
  out.read = late.read;
  out.sent = late.sent;
  out.more = late.more;
  return out;
}

tcp::FreezeDelta from_image(const wire::FreezeDeltaT& late) {
  return {.bytes = late.bytes,
          .fin = late.fin,
          .acked = late.acked,
          .window = late.window,
          .all_acknowledged = late.all_acknowledged,
          .written = late.written,
          .sent = late.sent,
          .finished = late.finished,
          .read = late.read,
          .more = late.more};
}

wire::StragglerT straggler_of(const ExportedEndpoint& one, tcp::FreezeDelta late) {
  const auto& image = one.endpoint.tcp;
  wire::StragglerT straggler;
  straggler.local = to_string(one.tuple.local);
  straggler.remote = to_string(one.tuple.remote);
  straggler.seq = image.rcv_seq;
  straggler.ack = image.snd_seq - static_cast<std::uint32_t>(image.send_queue.size());
  straggler.window = static_cast<std::uint16_t>(image.window->snd_wnd() >> image.snd_wscale);
  straggler.late = std::make_unique<wire::FreezeDeltaT>(to_image(std::move(late)));
  return straggler;
}

Result<> hold(const std::filesystem::path& runtime, ExportedEndpoint& one) {
  if (!one.frozen) return {};
  TRY_LET(late, one.frozen->hold(one.endpoint.tcp));
  one.more = late.more;
  one.late = to_image(std::move(late));
  one.endpoint.tcp.rcv_seq += static_cast<std::uint32_t>(one.late.bytes.size());
  one.finished = one.late.fin;
  return is_in_commit_alone(one.late) ? keep_late(runtime, one.id, one.late) : Result<>();
}

Result<> given_up() {
  return fail(ECANCELED, "application gave up waiting");
}

Result<> report(const Services& services, ExportedEndpoint& one) {
  Record& record = one.record;
  const int error = one.result ? 0 : one.result.error().code;
  record.result = one.result              ? "committed"
                  : error == EINPROGRESS  ? "in doubt"
                  : error == ECONNABORTED ? "lost"
                                          : "aborted";
  if (!one.result) record.error = to_string(one.result.error());
  ++(one.result ? services.counters.exported : services.counters.failed);
  log::info("export_finished", {{"migration", wire::to_hex(record.id)},
                                {"service", record.service},
                                {"connection", record.tuple},
                                {"host", record.to},
                                {"result", record.result},
                                {"freeze_us", record.freeze_us},
                                {"error", record.error}});
  services.history.add(std::move(record));
  return std::move(one.result);
}

}  // namespace sockmi::daemon
