#include "broker/broker.h"


#include "base/log.h"
#include "base/spawn.h"
#include "broker/adoption.h"
#include "broker/homes.h"
#include "broker/journal_keeper.h"
#include "broker/residents.h"
#include "image/pack.h"
#include "steer/door.h"
#include "steer/environment.h"

namespace sockmi::broker {

Result<std::unique_ptr<Broker>> Broker::open(asio::io_context& io, Config config, const peer::Identity& identity) {
  TRY_LET(journal, Journal::open(config.state_folder));
  std::unique_ptr<Broker> broker(new Broker(io, config, std::move(journal)));
  World& world = broker->world_;
  world.guard = std::move(config.guard);
  TRY_LET(steering, steer::make_nft_steering(world.settings.interfaces));
  world.steering = std::make_unique<steer::NamespacedSteering>(std::move(steering));
  TRY(steer::open_all_doors());
  TRY_LET(ends, steer::SocketEnds::open());
  world.ends = std::move(ends);
  TRY(adopt(world));
  world.steering->keep(rules_are_needed(world));
  log::info("event=barrier form={}", steer::barrier_form());
  for (const std::string& warning : steer::warnings(world.settings.interfaces)) log::warn("event=environment warning=\"{}\"", warning);
  TRY_LET(transfer, peer::Transfer::open(io, identity, world.settings.line(), [self = broker.get()](std::string host, Secret message) {
    return self->answer(std::move(host), std::move(message));
  }));
  world.transfer = std::move(transfer);
  config.negotiation.on_start = [&io, &world](const std::string& host, const SocketAddress& line) {
    spawn(io, "compare_notes", compare_notes(world, host, line));
  };
  TRY_LET(negotiation, peer::Negotiation::open(io, identity, std::move(config.negotiation), broker->arrivals_));
  world.negotiation = std::move(negotiation);
  spawn(io, "watch_ends", watch_ends(world));
  spawn(io, "return_unclaimed", return_unclaimed(world));
  spawn(io, "keep_journal", keep_journal(world));
  return broker;
}

namespace {

struct Conversation {
  World& world;
  Arrivals& arrivals;
  Takeovers& takeovers;
  const std::string& host;
};
using Verdicts = std::vector<Result<>>;  // on each endpoint of a message about many

Result<> prepare(Conversation& with, const SocketAddress& line, const image::DepartingImage& departing) {
  TRY_LET(id, image::read_id(image::view(departing.id())));
  TRY_LET(endpoint, image::read_endpoint(departing.endpoint()));
  return with.arrivals.prepare(id, with.host, line, std::move(endpoint), departing.ahead());
}

Result<Verdicts> on_prepare(Conversation& with, const image::Message& message) {
  const auto* said = message.request_as_Prepare();
  TRY_LET(line, SocketAddress::parse(image::string(said->line())));
  Verdicts verdicts;
  if (said->endpoints())
    for (const auto* departing : *said->endpoints()) verdicts.push_back(prepare(with, line, *departing));
  return verdicts;
}

Result<Verdicts> on_expect(Conversation& with, const image::Message& message) {
  TRY_LET(homes, image::read_expect(*message.request_as_Expect()));
  TRY(with.arrivals.expect(homes));
  return Verdicts();
}

Result<Verdicts> on_ahead(Conversation& with, const image::Message& message) {
  const auto* said = message.request_as_Ahead();
  TRY_LET(id, image::read_id(image::view(said->id())));
  TRY(with.arrivals.take_ahead(id, with.host, image::view(said->bytes())));
  return Verdicts();
}

Result<Verdicts> on_commit(Conversation& with, const image::Message& message) {
  TRY_LET(endpoints, image::read_commit(*message.request_as_Commit()));
  return with.arrivals.commit(endpoints, with.host);
}

Result<Verdicts> on_abort(Conversation& with, const image::Message& message) {
  TRY_LET(ids, image::read_ids(image::view(message.request_as_Abort()->ids())));
  for (const auto& id : ids) with.arrivals.abort(id, with.host);
  return Verdicts();
}

Result<Verdicts> on_straggler(Conversation&, const image::Message& message) {
  image::StragglerT straggler;
  message.request_as_Straggler()->UnPackTo(&straggler);
  TRY(Arrivals::receive(straggler));
  return Verdicts();
}

Result<Verdicts> on_ended(Conversation& with, const image::Message& message) {
  const auto* said = message.request_as_Ended();
  TRY_LET(tuple, image::read_tuple(said->local(), said->remote()));
  TRY(ended(with.world, with.host, tuple));
  return Verdicts();
}

Result<Verdicts> on_take_over(Conversation& with, const image::Message& message) {
  TRY(with.takeovers.told(with.host, *message.request_as_TakeOver()));
  return Verdicts();
}

// Questions are answered by a number.
Result<int> on_inquire(Conversation& with, const image::Message& message) {
  TRY_LET(id, image::read_id(image::view(message.request_as_Inquire()->id())));
  return with.world.undecided.contains(id) ? -1 : with.world.journal.has(id) ? 1 : 0;
}

Result<int> on_moved(Conversation& with, const image::Message& message) {
  const auto* said = message.request_as_Moved();
  TRY_LET(tuple, image::read_tuple(said->local(), said->remote()));
  TRY_LET(to, IpAddress::parse(image::string(said->to())));
  return moved(with.world, with.host, tuple, to, image::string(said->host()), image::string(said->service()));
}

Result<int> on_held(Conversation& with, const image::Message& message) {
  const auto* said = message.request_as_Held();
  TRY_LET(tuple, image::read_tuple(said->local(), said->remote()));
  TRY_LET(line, SocketAddress::parse(image::string(said->line())));
  return held(with.world, with.host, tuple, image::string(said->service()), line);
}

using Reaction = Result<Verdicts> (*)(Conversation&, const image::Message&);
const std::map<image::Request, Reaction> kReactions = {
    {image::Request::Ahead, on_ahead},     {image::Request::Expect, on_expect}, {image::Request::Prepare, on_prepare},
    {image::Request::Commit, on_commit},   {image::Request::Abort, on_abort},   {image::Request::Ended, on_ended},
    {image::Request::Straggler, on_straggler}, {image::Request::TakeOver, on_take_over},
};
using Reply = Result<int> (*)(Conversation&, const image::Message&);
const std::map<image::Request, Reply> kReplies = {
    {image::Request::Inquire, on_inquire}, {image::Request::Moved, on_moved}, {image::Request::Held, on_held}};

}  // namespace

asio::awaitable<Secret> Broker::answer(std::string host, Secret bytes) {
  const auto began = Clock::now();
  const auto message = image::read<image::Message>(bytes);
  if (!message) co_return image::pack_answer(std::unexpected(message.error()));
  Conversation with{world_, arrivals_, takeovers_, host};
  if (const auto reply = kReplies.find((*message)->request_type()); reply != kReplies.end()) {
    const auto answer = reply->second(with, **message);
    co_return answer ? image::pack_answer({}, *answer) : image::pack_answer(std::unexpected(answer.error()));
  }
  const auto reaction = kReactions.find((*message)->request_type());
  if (reaction == kReactions.end()) co_return image::pack_answer(fail(ENOTSUP, "a request unknown to this version"));
  const auto verdicts = reaction->second(with, **message);
  if (!verdicts) co_return image::pack_answer(std::unexpected(verdicts.error()));
  co_return image::pack_answer(*verdicts, std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began));
}

asio::awaitable<void> Broker::wind_up() {
  co_await broker::wind_up(world_);
  const bool needed = rules_are_needed(world_);
  if (needed || !world_.away.empty()) log::info("event=rules_stay imported={} away={}", world_.residents.size(), world_.away.size());
  world_.steering->keep(needed);
}

}  // namespace sockmi::broker
