#include "daemon/control_dispatch.h"

#include <chrono>
#include <map>

#include "wire/flatbuffer.h"

namespace sockmi::daemon {
namespace {

using Verdicts = std::vector<Result<>>;  // one for each endpoint of a message

Result<Verdicts> on_prepare(Requests& requests, const AuthenticatedHost& from,
                            const wire::Message& message) {
  const auto* said = message.request_as_Prepare();
  TRY_LET(control_address, SocketAddress::parse(wire::string(said->control_address())));
  TRY_LET(images, wire::read_prepare(*said));
  return requests.prepare(from, control_address, std::move(images));
}

Result<Verdicts> on_commit(Requests& requests, const AuthenticatedHost& from,
                           const wire::Message& message) {
  TRY_LET(endpoints, wire::read_commit(*message.request_as_Commit()));
  return requests.commit(from, endpoints);
}

Result<Verdicts> on_path_queries(Requests& requests, const AuthenticatedHost& from,
                                 const wire::Message& message) {
  TRY_LET(connections, wire::read_path_queries(*message.request_as_PathQueries()));
  return requests.path_queries(from, connections);
}

Result<> on_standby(Requests& requests, const AuthenticatedHost& from, const wire::Message&) {
  return requests.standby(from);
}

Result<> on_pre_copy(Requests& requests, const AuthenticatedHost& from,
                     const wire::Message& message) {
  const auto* said = message.request_as_PreCopy();
  TRY_LET(id, wire::read_id(wire::view(said->id())));
  return requests.receive_pre_copy(from, id, wire::view(said->bytes()));
}

Result<> on_abort(Requests& requests, const AuthenticatedHost& from, const wire::Message& message) {
  TRY_LET(ids, wire::read_ids(wire::view(message.request_as_Abort()->ids())));
  return requests.abort(from, ids);
}

Result<> on_late_write(Requests& requests, const AuthenticatedHost& from,
                       const wire::Message& message) {
  const auto* said = message.request_as_LateWrite();
  if (said->delta()) {
    TRY_LET(id, wire::read_id(wire::view(said->id())));
    wire::FreezeDeltaT delta;
    said->delta()->UnPackTo(&delta);
    return requests.late_write(from, id, delta);
  }
  TRY_LET(untouched, wire::read_ids(wire::view(said->id())));
  Result<> result;
  for (const auto& id : untouched)
    if (auto taken = requests.late_write(from, id, {}); !taken && result) result = std::move(taken);
  return result;
}

Result<> on_straggler(Requests& requests, const AuthenticatedHost& from,
                      const wire::Message& message) {
  wire::StragglerT straggler;
  message.request_as_Straggler()->UnPackTo(&straggler);
  return requests.straggler(from, straggler);
}

Result<> on_ended(Requests& requests, const AuthenticatedHost& from, const wire::Message& message) {
  const auto* said = message.request_as_Ended();
  TRY_LET(tuple, wire::read_tuple(said->local(), said->remote()));
  return requests.ended(from, tuple, said->generation());
}

Result<> on_take_over(Requests& requests, const AuthenticatedHost& from,
                      const wire::Message& message) {
  return requests.take_over(from, *message.request_as_TakeOver());
}

Result<int> on_query_outcome(Requests& requests, const AuthenticatedHost& from,
                             const wire::Message& message) {
  TRY_LET(id, wire::read_id(wire::view(message.request_as_QueryOutcome()->id())));
  return requests.query_outcome(from, id);
}

Result<int> on_moved(Requests& requests, const AuthenticatedHost& from,
                     const wire::Message& message) {
  const auto* said = message.request_as_Moved();
  TRY_LET(tuple, wire::read_tuple(said->local(), said->remote()));
  TRY_LET(to, IpAddress::parse(wire::string(said->to())));
  return requests.moved(from, tuple, to, wire::string(said->host()), wire::string(said->service()),
                        said->generation());
}

Result<int> on_query_holder(Requests& requests, const AuthenticatedHost& from,
                            const wire::Message& message) {
  const auto* said = message.request_as_QueryHolder();
  TRY_LET(tuple, wire::read_tuple(said->local(), said->remote()));
  TRY_LET(control_address, SocketAddress::parse(wire::string(said->control_address())));
  return requests.query_holder(from, tuple, wire::string(said->service()), control_address,
                               said->generation(), said->routed());
}

template <class Outcome>
using Handlers = std::map<wire::Request, Result<Outcome> (*)(Requests&, const AuthenticatedHost&,
                                                             const wire::Message&)>;
const Handlers<Verdicts> kBatches = {{wire::Request::Prepare, on_prepare},
                                     {wire::Request::Commit, on_commit},
                                     {wire::Request::PathQueries, on_path_queries}};
const Handlers<void> kOrders = {
    {wire::Request::PreCopy, on_pre_copy},    {wire::Request::Standby, on_standby},
    {wire::Request::Abort, on_abort},         {wire::Request::Ended, on_ended},
    {wire::Request::Straggler, on_straggler}, {wire::Request::TakeOver, on_take_over},
    {wire::Request::LateWrite, on_late_write}};
const Handlers<int> kQuestions = {{wire::Request::QueryOutcome, on_query_outcome},
                                  {wire::Request::Moved, on_moved},
                                  {wire::Request::QueryHolder, on_query_holder}};

}  // namespace

Secret dispatch(Requests& requests, const AuthenticatedHost& from, ByteView bytes) {
  const auto began = std::chrono::steady_clock::now();
  const auto message = wire::read<wire::Message>(bytes);
  if (!message) return wire::pack_answer(std::unexpected(message.error()));
  // FlatBuffers accepts a union that has a type and no value as well-formed.
  if (!(*message)->request())
    return wire::pack_answer(fail(EBADMSG, "invalid message: no request"));
  const auto took = [&] {
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                                 began);
  };
  const wire::Request type = (*message)->request_type();
  if (const auto question = kQuestions.find(type); question != kQuestions.end()) {
    const auto answer = question->second(requests, from, **message);
    return answer ? wire::pack_answer({}, *answer)
                  : wire::pack_answer(std::unexpected(answer.error()));
  }
  if (const auto order = kOrders.find(type); order != kOrders.end()) {
    const auto done = order->second(requests, from, **message);
    return done ? wire::pack_answer(Verdicts(), took())
                : wire::pack_answer(std::unexpected(done.error()));
  }
  const auto batch = kBatches.find(type);
  if (batch == kBatches.end())
    return wire::pack_answer(fail(ENOTSUP, "request unknown to this version"));
  const auto verdicts = batch->second(requests, from, **message);
  return verdicts ? wire::pack_answer(*verdicts, took())
                  : wire::pack_answer(std::unexpected(verdicts.error()));
}

}  // namespace sockmi::daemon
