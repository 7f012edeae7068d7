// Hands endpoints over from the client to other processes of this host (hand_over.h).
#include <openssl/rand.h>
#include <sockmi/sockmi.h>
#include <sys/socket.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include "api/export_parts.h"
#include "api/router.h"
#include "base/fault.h"
#include "base/freeze_mark.h"
#include "base/log.h"
#include "tcp/socket_info.h"
#include "tcp/states.h"

namespace sockmi::api {
namespace {

using Group = daemon::HandOvers::Group;

bool is_frozen(int socket) {
  std::uint32_t mark = 0;
  socklen_t size = sizeof mark;
  return ::getsockopt(socket, SOL_SOCKET, SO_MARK, &mark, &size) == 0 && mark == kFreezeMark;
}

// Returns 0 if a socket in this state of TCP is neither bound nor listening.
std::uint8_t passive_state(std::uint8_t state) {
  if (state == tcp::kListen) return SOCKMI_LISTENING;
  return state == tcp::kClose ? SOCKMI_BOUND : 0;
}

// Looks at the socket of an endpoint.
Result<daemon::ReadyEndpoint> examine(const daemon::Services& services, unique_fd socket,
                                      wire::Endpoint endpoint) {
  TRY_LET(facts, tcp::socket_info(socket.get()));
  const std::uint8_t passive = passive_state(facts.state);
  if ((daemon::is_passive(endpoint.state) ? endpoint.state : 0) != passive) {
    return fail(passive == SOCKMI_BOUND ? ENOTCONN : EINVAL,
                "socket is not in the state that it is exported as");
  }
  if (is_frozen(socket.get())) return fail(EBUSY, "socket is being exported");
  const SocketAddress& local = facts.tuple.local;
  if (passive != 0) {
    TRY(services.policy.may_listen(endpoint.service, endpoint.owner,
                                   {local.ip.unmapped(), local.port}));
  }
  daemon::ReadyEndpoint ready{.endpoint = std::move(endpoint),
                              .tuple = facts.tuple,
                              .socket = std::move(socket),
                              .cookie = facts.cookie,
                              .since = daemon::Clock::now()};
  RAND_bytes(ready.id.data(), static_cast<int>(ready.id.size()));
  return ready;
}

struct Asked {
  std::vector<Group> groups;
  std::vector<std::size_t> places;  // for each part the index of its group
};

// The descriptors are the sockets, and then a token for each group.
Result<Asked> read(const daemon::Services& services, const wire::ExportRequest& input,
                   Request& request, pid_t process) {
  const std::string service = wire::string(input.service());
  TRY(services.policy.may_export(service, request.user));
  const unsigned count = input.parts() ? input.parts()->size() : 0;
  auto& descriptors = request.descriptors;
  const std::size_t came = descriptors.size();
  std::size_t next = count;  // the descriptor of the next token
  Asked asked;
  for (unsigned i = 0; i < count; ++i) {
    const std::uint32_t group = input.parts()->Get(i)->group();
    if (group == 0 || i == 0 || group != input.parts()->Get(i - 1)->group()) {
      if (next >= came) return fail(EBADF, "invalid hand-over: {} descriptors", came);
      TRY_LET(token, Token::adopt(std::move(descriptors[next++])));
      asked.groups.push_back({.token = std::move(token)});
    }
    asked.places.push_back(asked.groups.size() - 1);
    TRY_LET(endpoint, read_part(input, i, service, request.user));
    Group& last = asked.groups.back();
    auto ready = examine(services, std::move(descriptors[i]), std::move(endpoint));
    if (!ready) {
      last.result = pass(std::move(ready));
      continue;
    }
    if (process != 0) ready->kept_from.emplace(process, daemon::Clock::time_point::max());
    last.endpoints.push_back(std::move(*ready));
  }
  if (count == 0 || next != came)
    return fail(EBADF, "invalid hand-over: {} descriptors for {} parts", came, count);
  return asked;
}

}  // namespace

asio::awaitable<Result<Response>> post_hand_over(daemon::Daemon& daemon, Session& session,
                                                 Request& request) {
  const auto& services = daemon.services();
  if (services.stopping) co_return fail(EHOSTDOWN, "sockmid is stopping");
  CO_TRY_LET(input, wire::read<wire::ExportRequest>(request.http.body()));
  if (input->target() && input->target()->size() > 0)
    co_return fail(EINVAL, "invalid hand-over: it has a host");
  const pid_t process = process_of(session);
  CO_TRY_LET(asked, read(services, *input, request, process));
  const std::string service = wire::string(input->service());
  auto& queue = daemon.import_queue();
  if (services.settings.require_importer && queue.watching(service, request.user, process) == 0)
    co_return fail(ESRCH, "no other permitted process here imports service '{}'", service);
  CO_TRY(fault::point("offer"));
  // An endpoint that nobody takes does not occupy its slot for longer than one that came
  // from another host.
  auto timeout = services.settings.wait;
  if (input->timeout_ms() > 0)
    timeout = std::min(timeout, daemon::milliseconds(input->timeout_ms()));
  const auto until = daemon::Clock::now() + timeout;
  const auto results = co_await daemon.hand_overs().offer(std::move(asked.groups), until);
  std::uint64_t went = 0;
  std::string why;
  nlohmann::json out = nlohmann::json::array();
  for (const std::size_t place : asked.places) {
    const auto& result = results[place];
    went += result.has_value();
    if (!result) why = to_string(result.error());
    out.push_back({{"errno", result ? 0 : result.error().code},
                   {"error", result ? "" : to_string(result.error())}});
  }
  services.counters.failed += asked.places.size() - went;
  log::info("hand_over_finished", {{"service", service},
                                   {"pid", process},
                                   {"count", went},
                                   {"failed", asked.places.size() - went},
                                   {"error", why}});
  co_return json_response(200, {{"results", std::move(out)}});
}

}  // namespace sockmi::api
