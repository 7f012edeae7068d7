#include "broker/broker.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "broker/residents.h"
#include "image/pack.h"
#include "steer/door.h"

namespace sockmi::broker {

Result<std::unique_ptr<Broker>> Broker::open(asio::io_context& io, Config config, const peer::Identity& identity) {
  TRY_LET(journal, Journal::open(config.state_folder));
  std::unique_ptr<Broker> broker(new Broker(io, config, std::move(journal)));
  World& world = broker->world_;
  TRY_LET(steering, steer::make_nft_steering(config.interfaces));
  world.steering = std::make_unique<steer::NamespacedSteering>(std::move(steering));
  TRY(steer::open_all_doors());
  TRY_LET(ends, steer::SocketEnds::open());
  TRY_LET(transfer, peer::Transfer::open(io, identity, world.settings.line(), [self = broker.get()](std::string host, Secret message) {
    return self->answer(std::move(host), std::move(message));
  }));
  world.transfer = std::move(transfer);
  TRY_LET(negotiation, peer::Negotiation::open(io, identity, std::move(config.negotiation), broker->arrivals_));
  world.negotiation = std::move(negotiation);
  asio::co_spawn(io, watch_ends(world, std::move(ends)), asio::detached);
  asio::co_spawn(io, return_unclaimed(world), asio::detached);
  return broker;
}

namespace {

struct Conversation {
  World& world;
  Arrivals& arrivals;
  Takeovers& takeovers;
  const std::string& host;
};

Result<> on_prepare(Conversation& with, const image::Message& message) {
  const auto* prepare = message.request_as_Prepare();
  TRY_LET(id, image::read_id(image::view(prepare->id())));
  TRY_LET(line, SocketAddress::parse(image::string(prepare->line())));
  TRY_LET(endpoint, image::read_endpoint(prepare->endpoint()));
  return with.arrivals.prepare(id, with.host, line, std::move(endpoint));
}

Result<> on_commit(Conversation& with, const image::Message& message) {
  TRY_LET(id, image::read_id(image::view(message.request_as_Commit()->id())));
  return with.arrivals.commit(id, with.host);
}

Result<> on_abort(Conversation& with, const image::Message& message) {
  TRY_LET(id, image::read_id(image::view(message.request_as_Abort()->id())));
  with.arrivals.abort(id, with.host);
  return {};
}

Result<> on_moved(Conversation& with, const image::Message& message) {
  const auto* said = message.request_as_Moved();
  TRY_LET(tuple, image::read_tuple(said->local(), said->remote()));
  TRY_LET(to, IpAddress::parse(image::string(said->to())));
  return moved(with.world, with.host, tuple, to, image::string(said->host()));
}

Result<> on_ended(Conversation& with, const image::Message& message) {
  const auto* said = message.request_as_Ended();
  TRY_LET(tuple, image::read_tuple(said->local(), said->remote()));
  return ended(with.world, with.host, tuple);
}

Result<> on_take_over(Conversation& with, const image::Message& message) {
  return with.takeovers.told(with.host, *message.request_as_TakeOver());
}

using Reaction = Result<> (*)(Conversation&, const image::Message&);
const std::map<image::Request, Reaction> kReactions = {
    {image::Request::Prepare, on_prepare}, {image::Request::Commit, on_commit}, {image::Request::Abort, on_abort},
    {image::Request::Moved, on_moved},     {image::Request::Ended, on_ended},
    {image::Request::TakeOver, on_take_over},
};

}  // namespace

asio::awaitable<Secret> Broker::answer(std::string host, Secret bytes) {
  const auto message = image::read<image::Message>(bytes);
  if (!message) co_return image::pack_answer(std::unexpected(message.error()));
  if (const auto* inquiry = (*message)->request_as_Inquire()) {
    const auto id = image::read_id(image::view(inquiry->id()));
    if (!id) co_return image::pack_answer(std::unexpected(id.error()));
    const int decided = world_.undecided.contains(*id) ? -1 : world_.journal.has(*id) ? 1 : 0;
    co_return image::pack_answer({}, decided);
  }
  const auto reaction = kReactions.find((*message)->request_type());
  if (reaction == kReactions.end()) co_return image::pack_answer(fail(ENOTSUP, "a request unknown to this version"));
  Conversation with{world_, arrivals_, takeovers_, host};
  co_return image::pack_answer(reaction->second(with, **message));
}

}  // namespace sockmi::broker
