// Sends events to the applications that hold connections, as server-sent events (WHATWG
// HTML, 9.2). An operator's request to export becomes such an event.
#include <limits>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <nlohmann/json.hpp>

#include "api/json_body.h"
#include "api/router.h"
#include "base/log.h"
#include "context/async_event.h"

namespace sockmi::api {
namespace {

using namespace boost::asio::experimental::awaitable_operators;

constexpr std::size_t kMostUnread = 64u << 10;
constexpr std::uint8_t kAnyState = 0xff;
constexpr auto kMostConnections = std::numeric_limits<unsigned>::max();

// Events that wait to be sent to one client.
struct Outbox {
  explicit Outbox(asio::any_io_executor executor) : executor(std::move(executor)) {}
  asio::any_io_executor executor;
  std::string text;
  bool overfull = false;  // the client does not read
  // Since the last sending: one event is enough for any number of endpoints.
  bool import_told = false;
  std::shared_ptr<daemon::Event> filled = std::make_shared<daemon::Event>(executor);

  void import_possible() {
    if (!std::exchange(import_told, true)) put("event: import\ndata: {}\n\n");
  }
  void put(const std::string& event) {
    overfull |= text.size() + event.size() > kMostUnread;
    if (!overfull) text += event;
    filled->set();
  }
  std::string take() {
    import_told = false;
    filled = std::make_shared<daemon::Event>(executor);
    return std::exchange(text, {});
  }
};

nlohmann::json to_json(const daemon::Match& match) {
  return {{"ip", match.ip.any() ? "" : to_string(match.ip)},
          {"prefix", match.prefix},
          {"port", match.port}};
}

Result<daemon::Match> match_of(const JsonBody& body, const char* key) {
  TRY_LET(text, body.text(key, ""));
  return daemon::Match::parse(text);
}

Result<IpAddress> resolve_host(daemon::Daemon& daemon, const std::string& name) {
  if (name.empty()) return IpAddress{};
  if (auto ip = IpAddress::parse(name)) return ip;
  TRY_LET(host, daemon.services().discovery->find_host(name));
  return host.control_address.ip;
}

// Answers to many requests. An answer that is refused does not keep the others from being
// accepted.
Result<Response> accept_answers(daemon::Daemon& daemon, const Request& request) {
  TRY_LET(body, JsonBody::parse(request.http.body()));
  TRY_LET(answers, body.counts("answers", 3));
  nlohmann::json errors = nlohmann::json::array();
  for (const std::vector<std::uint64_t>& each : answers) {
    if (each[1] > kMostConnections || each[2] > kMostConnections)
      return fail(EINVAL, "invalid body: a number of connections is too large");
  }
  for (const std::vector<std::uint64_t>& each : answers) {
    const auto done = daemon.export_requests().done(
        each[0], request.user, static_cast<unsigned>(each[1]), static_cast<unsigned>(each[2]));
    errors.push_back(done ? 0 : done.error().code);
  }
  return json_response(200, {{"errors", std::move(errors)}});
}

}  // namespace

asio::awaitable<Result<Response>> get_events(daemon::Daemon& daemon, Session& session,
                                             Request& request) {
  std::string service = request.parameter("service");
  if (service.empty()) service = "default";
  CO_TRY(daemon.services().policy.may_import(service, request.user));
  auto outbox = std::make_shared<Outbox>(session.socket().get_executor());
  auto& lists = daemon.import_queue();
  const daemon::Criteria any{.service = service, .states = kAnyState, .local = {}, .remote = {}};
  const auto watch = lists.watch(
      any, request.user, [outbox] { outbox->import_possible(); }, process_of(session));
  const auto holder = daemon.export_requests().hold(
      service, request.user,
      [outbox](const daemon::ExportRequest& asked) {
        const nlohmann::json data{{"request", asked.request},
                                  {"local", to_json(asked.local)},
                                  {"peer", to_json(asked.remote)},
                                  {"to", asked.to.any() ? "" : to_string(asked.to)}};
        outbox->put("event: export\ndata: " + data.dump() + "\n\n");
      },
      process_of(session));
  if (lists.has_for(service, request.user)) outbox->import_possible();
  if (!co_await session.begin_stream("text/event-stream")) co_return Response{.status = 0};
  for (;;) {
    const auto filled = outbox->filled;
    const auto outcome = co_await (filled->wait() || session.wait_gone());
    if (outcome.index() == 1) break;
    const std::string text = outbox->take();
    const ByteView bytes(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
    if (outbox->overfull || !co_await session.send(bytes)) {
      log::warn("event_stream_dropped", {{"uid", request.user.uid},
                                         {"service", service},
                                         {"reason", "the client does not read its events"}});
      break;
    }
  }
  co_return Response{.status = 0};
}

asio::awaitable<Result<Response>> post_request(daemon::Daemon& daemon, Session&, Request& request) {
  CO_TRY_LET(body, JsonBody::parse(request.http.body()));
  CO_TRY_LET(service, body.text("service", "default"));
  // Besides, only the user's own applications are asked, see ExportRequests.
  CO_TRY(daemon.services().policy.may_export(service, request.user));
  CO_TRY_LET(local, match_of(body, "local"));
  CO_TRY_LET(remote, match_of(body, "peer"));
  CO_TRY_LET(host, body.text("to", ""));
  CO_TRY_LET(to, resolve_host(daemon, host));
  const daemon::ExportRequest asked{.local = local, .remote = remote, .to = to};
  auto outcome = co_await daemon.export_requests().ask(service, asked, request.user,
                                                       daemon::milliseconds(60000));
  if (outcome.applications == 0) {
    co_return fail(ESRCH, "no application here{} holds connections of service '{}'",
                   request.user.is_root() ? "" : " of " + request.user.name, service);
  }
  co_return json_response(200, {{"applications", outcome.applications},
                                {"answered", outcome.answered},
                                {"exported", outcome.exported},
                                {"failed", outcome.failed},
                                {"unanswered", outcome.unanswered}});
}

asio::awaitable<Result<Response>> post_request_done(daemon::Daemon& daemon, Session&,
                                                    Request& request) {
  if (!request.http.body().empty() && request.query.empty())
    co_return accept_answers(daemon, request);
  CO_TRY_LET(number, request.number("request", 0));
  CO_TRY_LET(exported, request.number("exported", 0, kMostConnections));
  CO_TRY_LET(failed, request.number("failed", 0, kMostConnections));
  CO_TRY(daemon.export_requests().done(number, request.user, static_cast<unsigned>(exported),
                                       static_cast<unsigned>(failed)));
  co_return json_response(200, nlohmann::json::object());
}

}  // namespace sockmi::api
