#include "migration/export_state.h"

#include <algorithm>

#include "base/log.h"
#include "migration/delta_files.h"

namespace sockmi::daemon {

wire::FreezeDeltaT to_image(tcp::FreezeDelta delta) {
  wire::FreezeDeltaT out;
  out.bytes = std::move(delta.bytes);
  out.fin = delta.fin;
  out.acked = delta.acked;
  out.window = delta.window;
  out.all_acknowledged = delta.all_acknowledged;
  out.written = std::move(delta.written);
  out.finished = delta.finished;
  out.read = delta.read;
  out.sent = delta.sent;
  out.more = delta.more;
  return out;
}

tcp::FreezeDelta from_image(const wire::FreezeDeltaT& delta) {
  return {.bytes = delta.bytes,
          .fin = delta.fin,
          .acked = delta.acked,
          .window = delta.window,
          .all_acknowledged = delta.all_acknowledged,
          .written = delta.written,
          .sent = delta.sent,
          .finished = delta.finished,
          .read = delta.read,
          .more = delta.more};
}

wire::StragglerT straggler_of(const ExportedEndpoint& one, tcp::FreezeDelta delta) {
  const auto& image = one.endpoint.tcp;
  wire::StragglerT straggler;
  straggler.local = to_string(one.tuple.local);
  straggler.remote = to_string(one.tuple.remote);
  straggler.seq = image.rcv_seq;
  straggler.ack = image.snd_seq - static_cast<std::uint32_t>(image.send_queue.size());
  straggler.window = static_cast<std::uint16_t>(image.window->snd_wnd() >> image.snd_wscale);
  straggler.delta = std::make_unique<wire::FreezeDeltaT>(to_image(std::move(delta)));
  return straggler;
}

Result<> hold(const std::filesystem::path& runtime, ExportedEndpoint& one) {
  if (!one.frozen) return {};
  TRY_LET(delta, one.frozen->hold(one.endpoint.tcp));
  one.more = delta.more;
  one.delta = to_image(std::move(delta));
  one.endpoint.tcp.rcv_seq += static_cast<std::uint32_t>(one.delta.bytes.size());
  one.finished = one.delta.fin;
  return is_in_commit_alone(one.delta) ? keep_delta(runtime, one.id, one.delta) : Result<>();
}

void keep_together(std::span<ExportedEndpoint> group) {
  const auto stays =
      std::ranges::find_if(group, [](const ExportedEndpoint& one) { return !one.result; });
  if (stays == group.end()) return;
  const Error why = stays->result.error();
  for (ExportedEndpoint& one : group)
    if (one.result)
      one.result =
          fail(why.code, "{} is in its group and stays: {}", to_string(stays->tuple), why.reason);
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
  record.error_code = error;
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
