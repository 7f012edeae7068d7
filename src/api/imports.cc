// Endpoints are handed over in two steps: the response carries the descriptors, and the client says which it has taken. An application that
// dies, or can't use what it got, between the two leaves the endpoint where it was: on the ready list.
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <nlohmann/json.hpp>
#include <sockmi/sockmi.h>

#include "api/api.h"
#include "broker/event.h"
#include "image/pack.h"

namespace sockmi::api {
namespace {

using namespace boost::asio::experimental::awaitable_operators;
constexpr std::size_t kMostCriteria = 64;  // descriptors in one message
constexpr std::uint8_t kAllStates = 0x7f;

class Deliveries : public SessionState {
 public:
  explicit Deliveries(broker::World& world) : io_(world.io), lists_(world.lists) {}
  ~Deliveries() override {
    if (!io_.stopped()) put_back();  // else the lists are gone already
  }
  void add(broker::Ready ready) { delivered_.push_back(std::move(ready)); }
  // Only what was delivered to this client.
  void taken(const image::MigrationId& id) {
    if (std::erase_if(delivered_, [&](const broker::Ready& ready) { return ready.id == id; })) lists_.release(id);
  }
  void put_back() {
    for (auto& ready : std::exchange(delivered_, {})) lists_.add(std::move(ready));
  }

 private:
  asio::io_context& io_;
  broker::ImportLists& lists_;
  std::vector<broker::Ready> delivered_;
};

Result<broker::Match> read_match(const image::Match* from) {
  broker::Match match;
  if (!from) return match;
  match.port = from->port();
  if (!from->ip() || from->ip()->size() == 0) return match;
  TRY_LET(ip, IpAddress::from_bytes(image::view(from->ip())));
  if (from->prefix() > ip.size() * 8) return fail(EINVAL, "a prefix of {} bits", from->prefix());
  match.ip = ip;
  match.prefix = from->prefix();
  return match;
}

Result<std::vector<broker::Criteria>> read_criteria(const image::ImportRequest& wish, const broker::Policy& policy, const User& user) {
  std::vector<broker::Criteria> out;
  if (!wish.criteria() || wish.criteria()->size() == 0 || wish.criteria()->size() > kMostCriteria)
    return fail(EINVAL, "1 to {} criteria", kMostCriteria);
  for (const auto* each : *wish.criteria()) {
    if (each->states() == 0 || (each->states() & ~kAllStates)) return fail(EINVAL, "{:#x} is no set of states", each->states());
    TRY_LET(local, read_match(each->local()));
    TRY_LET(remote, read_match(each->remote()));
    out.push_back({image::string(each->service()), each->states(), each->preferred(), local, remote});
    TRY(policy.may_import(out.back().service, user));
  }
  return out;
}

Response pack(const std::vector<broker::ImportLists::Taken>& taken) {
  std::size_t size = 1024;
  for (const auto& each : taken) size += 256 + each.ready.endpoint.tls.size() + each.ready.endpoint.payload.size();
  image::WipingBuilder builder(size);
  std::vector<flatbuffers::Offset<image::Delivered>> delivered;
  Response response{.type = "application/vnd.sockmi"};
  for (const auto& each : taken) {
    const auto& endpoint = each.ready.endpoint;
    const auto id = builder.CreateVector(each.ready.id.data(), each.ready.id.size());
    const auto tls = builder.CreateVector(endpoint.tls.data(), endpoint.tls.size());
    const auto payload = builder.CreateVector(endpoint.payload.data(), endpoint.payload.size());
    delivered.push_back(image::CreateDelivered(builder, static_cast<std::uint32_t>(each.criterion), id, endpoint.state, tls, payload));
    response.descriptors.push_back(each.ready.socket.dup());
  }
  builder.Finish(image::CreateImportResponseDirect(builder, &delivered));
  response.body = builder.take();
  return response;
}

// Waits until an endpoint of one of the services becomes ready; false when the time is over or the client has gone.
asio::awaitable<bool> wait_for_ready(broker::ImportLists& lists, Session& session, const std::vector<broker::Criteria>& criteria,
                                     const User& user, broker::Clock::time_point deadline) {
  auto ready = std::make_shared<broker::Event>(session.socket().get_executor());
  std::vector<broker::ImportLists::Watch> watches;
  for (const auto& each : criteria) watches.push_back(lists.watch(each, user, [ready] { ready->set(); }));
  auto outcome = co_await (ready->wait(deadline) || session.wait_gone());
  co_return outcome.index() == 0 && std::get<0>(outcome);
}

}  // namespace

asio::awaitable<Result<Response>> post_import(broker::Broker& broker, Session& session, Request& request) {
  auto& lists = broker.world().lists;
  CO_TRY_LET(wish, image::read<image::ImportRequest>(request.http.body()));
  CO_TRY_LET(criteria, read_criteria(*wish, broker.world().policy, request.user));
  const auto deadline = wish->timeout_ms() < 0 ? broker::Clock::time_point::max() : broker::Clock::now() + broker::milliseconds(wish->timeout_ms());
  auto taken = lists.take(criteria, request.user);
  while (taken.empty() && broker::Clock::now() < deadline) {
    if (!co_await wait_for_ready(lists, session, criteria, request.user, deadline)) break;
    taken = lists.take(criteria, request.user);
  }
  Response response = pack(taken);
  auto deliveries = std::make_unique<Deliveries>(broker.world());
  for (auto& each : taken) deliveries->add(std::move(each.ready));
  session.state = std::move(deliveries);
  co_return response;
}

asio::awaitable<Result<Response>> post_import_taken(broker::Broker&, Session& session, Request& request) {
  auto* deliveries = dynamic_cast<Deliveries*>(session.state.get());
  if (!deliveries) co_return fail(EINVAL, "nothing was delivered to this client");
  const ByteView ids(request.http.body());
  for (std::size_t at = 0; at + 16 <= ids.size(); at += 16) deliveries->taken(*image::read_id(ids.subspan(at, 16)));
  session.state.reset();  // the rest goes back
  co_return json_response(200, nlohmann::json::object());
}

}  // namespace sockmi::api
