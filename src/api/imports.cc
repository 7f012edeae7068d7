// Hands endpoints over to applications.
//
// This takes two steps: the response carries the descriptors, and the client takes the
// tokens of those that it can use. If an application dies between the two, or cannot use
// what it got, the endpoint stays where it was: on the ready list. What the application
// reports afterwards is only informative.
#include <fcntl.h>
#include <sockmi/sockmi.h>
#include <sys/socket.h>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <nlohmann/json.hpp>

#include "api/router.h"
#include "base/endpoint_state.h"
#include "base/fault.h"
#include "base/scm_rights.h"
#include "context/async_event.h"
#include "wire/flatbuffer.h"

namespace sockmi::api {
namespace {

using namespace boost::asio::experimental::awaitable_operators;

// Puts what was delivered to this client back on the ready list when its connection ends.
class Delivered : public SessionState {
 public:
  Delivered(daemon::Daemon& daemon, daemon::Deliveries::Number number)
      : io_(daemon.services().io),
        deliveries_(daemon.deliveries()),
        number(number) {}
  ~Delivered() override {
    if (!io_.stopped()) deliveries_.end(number);  // else they are destroyed already
  }

 private:
  asio::io_context& io_;
  daemon::Deliveries& deliveries_;

 public:
  const daemon::Deliveries::Number number;
};

Result<daemon::Match> read_match(const wire::Match* from) {
  daemon::Match match;
  if (!from) return match;
  match.port = from->port();
  if (!from->ip() || from->ip()->size() == 0) return match;
  TRY_LET(ip, IpAddress::from_bytes(wire::view(from->ip())));
  if (from->prefix() > ip.size() * 8)
    return fail(EINVAL, "invalid prefix length {}", from->prefix());
  match.ip = ip;
  match.prefix = from->prefix();
  return match;
}

Result<std::vector<daemon::Criteria>> read_criteria(const wire::ImportRequest& input,
                                                    const daemon::Policy& policy,
                                                    const User& user) {
  std::vector<daemon::Criteria> out;
  if (!input.criteria() || input.criteria()->size() == 0 ||
      input.criteria()->size() > kMaxDescriptorsPerMessage)
    return fail(EINVAL, "invalid number of criteria: expected 1 to {}", kMaxDescriptorsPerMessage);
  for (const auto* each : *input.criteria()) {
    if (each->states() == 0 || (each->states() & ~kAllStates))
      return fail(EINVAL, "invalid set of states {:#x}", each->states());
    TRY_LET(local, read_match(each->local()));
    TRY_LET(remote, read_match(each->remote()));
    out.push_back(
        {wire::string(each->service()), each->states(), each->preferred(), local, remote});
    TRY(policy.may_import(out.back().service, user));
  }
  return out;
}

// `criteria`: for each endpoint the index of the criterion that it meets.
Response pack(std::span<const daemon::Deliveries::Handed> handed,
              const std::vector<std::size_t>& criteria) {
  std::size_t size = 1024;
  for (const auto& each : handed)
    size += 256 + each.ready.endpoint.tls.size() + each.ready.endpoint.payload.size();
  wire::WipingBuilder builder(size);
  std::vector<flatbuffers::Offset<wire::Delivered>> delivered;
  Response response{.type = "application/vnd.sockmi"};
  for (std::size_t i = 0; i < handed.size(); ++i) {
    const auto& [ready, token] = handed[i];
    const auto id = builder.CreateVector(ready.id.data(), ready.id.size());
    const auto tls = builder.CreateVector(ready.endpoint.tls.data(), ready.endpoint.tls.size());
    const auto payload =
        builder.CreateVector(ready.endpoint.payload.data(), ready.endpoint.payload.size());
    delivered.push_back(wire::CreateDelivered(builder, static_cast<std::uint32_t>(criteria[i]), id,
                                              ready.endpoint.state, tls, payload,
                                              static_cast<std::uint32_t>(ready.group)));
    response.descriptors.push_back(ready.socket.dup());
    response.descriptors.emplace_back(::fcntl(token->fd(), F_DUPFD_CLOEXEC, 0));
  }
  builder.Finish(wire::CreateImportResponseDirect(builder, &delivered));
  response.body = builder.take();
  return response;
}

// Waits until an endpoint of one of the services becomes ready. Returns false if the time
// is over or the client has gone.
asio::awaitable<bool> wait_for_ready(daemon::ImportQueue& lists, Session& session,
                                     const std::vector<daemon::Criteria>& criteria,
                                     const User& user, pid_t process,
                                     daemon::Clock::time_point deadline) {
  auto ready = std::make_shared<daemon::Event>(session.socket().get_executor());
  std::vector<daemon::ImportQueue::Watch> watches;
  watches.reserve(criteria.size());
  for (const auto& each : criteria) {
    watches.push_back(lists.watch(
        each, user, [ready] { ready->set(); }, process));
  }
  auto outcome = co_await (ready->wait(deadline) || session.wait_gone());
  co_return outcome.index() == 0 && std::get<0>(outcome);
}

}  // namespace

pid_t process_of(Session& session) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  return ::getsockopt(session.borrow_fd(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0
             ? credentials.pid
             : 0;
}

asio::awaitable<Result<Response>> post_import(daemon::Daemon& daemon, Session& session,
                                              Request& request) {
  auto& lists = daemon.import_queue();
  CO_TRY_LET(input, wire::read<wire::ImportRequest>(request.http.body()));
  CO_TRY_LET(criteria, read_criteria(*input, daemon.services().policy, request.user));
  const auto deadline = input->timeout_ms() < 0
                            ? daemon::Clock::time_point::max()
                            : daemon::Clock::now() + daemon::milliseconds(input->timeout_ms());
  const pid_t process = process_of(session);
  const bool groups = input->groups();
  auto taken = lists.take(criteria, request.user, process, groups);
  while (taken.empty() && daemon::Clock::now() < deadline) {
    if (!co_await wait_for_ready(lists, session, criteria, request.user, process, deadline)) break;
    taken = lists.take(criteria, request.user, process, groups);
  }
  std::vector<daemon::ReadyEndpoint> those;
  std::vector<std::size_t> met;
  for (auto& each : taken) {
    those.push_back(std::move(each.ready));
    met.push_back(each.criterion);
  }
  CO_TRY_LET(number, daemon.deliveries().begin(std::move(those), process));
  session.state = std::make_unique<Delivered>(daemon, number);
  co_return pack(daemon.deliveries().handed(number), met);
}

asio::awaitable<Result<Response>> post_import_taken(daemon::Daemon& daemon, Session& session,
                                                    Request& request) {
  const auto* delivered = dynamic_cast<Delivered*>(session.state.get());
  if (!delivered) co_return fail(EINVAL, "nothing was delivered to this client");
  CO_TRY(fault::point("taken"));
  CO_TRY_LET(said, wire::read<wire::TakenRequest>(request.http.body()));
  CO_TRY_LET(ids, wire::read_ids(wire::view(said->ids())));
  auto& deliveries = daemon.deliveries();
  if (said->failed()) {
    for (const auto* each : *said->failed()) {
      CO_TRY_LET(id, wire::read_id(wire::view(each->id())));
      deliveries.failed(delivered->number, id, Error{each->error(), wire::string(each->reason())});
    }
  }
  for (const auto& id : ids)
    (void)deliveries.taken(delivered->number, id);
  session.state.reset();  // the rest goes back on the ready list
  co_return json_response(200, nlohmann::json::object());
}

}  // namespace sockmi::api
