#include "broker/dispatch.h"

#include <chrono>
#include <map>

#include "image/pack.h"

namespace sockmi::broker {
namespace {

using Verdicts = std::vector<Result<>>;  // on each endpoint of a message about many

Result<> prepare_one(Requests& requests, const Speaker& from, const SocketAddress& line, const image::DepartingImage& departing) {
  TRY_LET(id, image::read_id(image::view(departing.id())));
  TRY_LET(endpoint, image::read_endpoint(departing.endpoint()));
  return requests.prepare(from, id, line, std::move(endpoint), departing.ahead());
}

Result<Verdicts> on_prepare(Requests& requests, const Speaker& from, const image::Message& message) {
  const auto* said = message.request_as_Prepare();
  TRY_LET(line, SocketAddress::parse(image::string(said->line())));
  Verdicts verdicts;
  if (said->endpoints() && said->endpoints()->size() > image::kMostEndpoints)
    return fail(EMSGSIZE, "{} endpoints in one message", said->endpoints()->size());
  if (said->endpoints())
    for (const auto* departing : *said->endpoints()) verdicts.push_back(prepare_one(requests, from, line, *departing));
  return verdicts;
}

Result<Verdicts> on_commit(Requests& requests, const Speaker& from, const image::Message& message) {
  TRY_LET(endpoints, image::read_commit(*message.request_as_Commit()));
  return requests.commit(from, endpoints);
}

Result<Verdicts> on_passages(Requests& requests, const Speaker& from, const image::Message& message) {
  TRY_LET(connections, image::read_passages(*message.request_as_Passages()));
  return requests.passages(from, connections);
}

Result<> on_expect(Requests& requests, const Speaker& from, const image::Message&) { return requests.expect(from); }

Result<> on_ahead(Requests& requests, const Speaker& from, const image::Message& message) {
  const auto* said = message.request_as_Ahead();
  TRY_LET(id, image::read_id(image::view(said->id())));
  return requests.take_ahead(from, id, image::view(said->bytes()));
}

Result<> on_abort(Requests& requests, const Speaker& from, const image::Message& message) {
  TRY_LET(ids, image::read_ids(image::view(message.request_as_Abort()->ids())));
  return requests.abort(from, ids);
}

Result<> on_rest(Requests& requests, const Speaker& from, const image::Message& message) {
  const auto* said = message.request_as_Rest();
  if (said->late()) {
    TRY_LET(id, image::read_id(image::view(said->id())));
    image::LateT late;
    said->late()->UnPackTo(&late);
    return requests.rest(from, id, late);
  }
  TRY_LET(untouched, image::read_ids(image::view(said->id())));
  Result<> result;
  for (const auto& id : untouched)
    if (auto taken = requests.rest(from, id, {}); !taken && result) result = std::move(taken);
  return result;
}

Result<> on_straggler(Requests& requests, const Speaker& from, const image::Message& message) {
  image::StragglerT straggler;
  message.request_as_Straggler()->UnPackTo(&straggler);
  return requests.straggler(from, straggler);
}

Result<> on_ended(Requests& requests, const Speaker& from, const image::Message& message) {
  const auto* said = message.request_as_Ended();
  TRY_LET(tuple, image::read_tuple(said->local(), said->remote()));
  return requests.ended(from, tuple, said->generation());
}

Result<> on_take_over(Requests& requests, const Speaker& from, const image::Message& message) {
  return requests.take_over(from, *message.request_as_TakeOver());
}

Result<int> on_inquire(Requests& requests, const Speaker& from, const image::Message& message) {
  TRY_LET(id, image::read_id(image::view(message.request_as_Inquire()->id())));
  return requests.inquire(from, id);
}

Result<int> on_moved(Requests& requests, const Speaker& from, const image::Message& message) {
  const auto* said = message.request_as_Moved();
  TRY_LET(tuple, image::read_tuple(said->local(), said->remote()));
  TRY_LET(to, IpAddress::parse(image::string(said->to())));
  return requests.moved(from, tuple, to, image::string(said->host()), image::string(said->service()), said->generation());
}

Result<int> on_held(Requests& requests, const Speaker& from, const image::Message& message) {
  const auto* said = message.request_as_Held();
  TRY_LET(tuple, image::read_tuple(said->local(), said->remote()));
  TRY_LET(line, SocketAddress::parse(image::string(said->line())));
  return requests.held(from, tuple, image::string(said->service()), line, said->generation(), said->routed());
}

template <class Outcome>
using Reactions = std::map<image::Request, Result<Outcome> (*)(Requests&, const Speaker&, const image::Message&)>;
const Reactions<Verdicts> kBatches = {{image::Request::Prepare, on_prepare}, {image::Request::Commit, on_commit}, {image::Request::Passages, on_passages}};
const Reactions<void> kOrders = {{image::Request::Ahead, on_ahead}, {image::Request::Expect, on_expect}, {image::Request::Abort, on_abort},
                                 {image::Request::Ended, on_ended}, {image::Request::Straggler, on_straggler}, {image::Request::TakeOver, on_take_over},
                                 {image::Request::Rest, on_rest}};
const Reactions<int> kQuestions = {{image::Request::Inquire, on_inquire}, {image::Request::Moved, on_moved}, {image::Request::Held, on_held}};

}  // namespace

Secret dispatch(Requests& requests, const Speaker& from, ByteView bytes) {
  const auto began = std::chrono::steady_clock::now();
  const auto message = image::read<image::Message>(bytes);
  if (!message) return image::pack_answer(std::unexpected(message.error()));
  // FlatBuffers takes a union that has a type and no value for well-formed.
  if (!(*message)->request()) return image::pack_answer(fail(EBADMSG, "a message without a request"));
  const auto took = [&] { return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - began); };
  const image::Request type = (*message)->request_type();
  if (const auto question = kQuestions.find(type); question != kQuestions.end()) {
    const auto answer = question->second(requests, from, **message);
    return answer ? image::pack_answer({}, *answer) : image::pack_answer(std::unexpected(answer.error()));
  }
  if (const auto order = kOrders.find(type); order != kOrders.end()) {
    const auto done = order->second(requests, from, **message);
    return done ? image::pack_answer(Verdicts(), took()) : image::pack_answer(std::unexpected(done.error()));
  }
  const auto batch = kBatches.find(type);
  if (batch == kBatches.end()) return image::pack_answer(fail(ENOTSUP, "a request unknown to this version"));
  const auto verdicts = batch->second(requests, from, **message);
  return verdicts ? image::pack_answer(*verdicts, took()) : image::pack_answer(std::unexpected(verdicts.error()));
}

}  // namespace sockmi::broker
