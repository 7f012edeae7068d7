// What the daemon has to say to those who hold connections, as server-sent events (WHATWG HTML, 9.2), and the operator's wish that
// becomes such an event.
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <nlohmann/json.hpp>

#include "api/api.h"
#include "broker/event.h"

namespace sockmi::api {
namespace {

using namespace boost::asio::experimental::awaitable_operators;

// Events that wait to be sent to one client.
struct Outbox {
  explicit Outbox(asio::any_io_executor executor) : executor(executor) {}
  asio::any_io_executor executor;
  std::string text;
  bool import_told = false;  // since the last sending: one word is enough for any number of endpoints
  std::shared_ptr<broker::Event> filled = std::make_shared<broker::Event>(executor);

  void import_possible() {
    if (!std::exchange(import_told, true)) put("event: import\ndata: {}\n\n");
  }
  void put(const std::string& event) {
    text += event;
    filled->set();
  }
  std::string take() {
    import_told = false;
    filled = std::make_shared<broker::Event>(executor);
    return std::exchange(text, {});
  }
};

nlohmann::json to_json(const broker::Match& match) {
  return {{"ip", match.ip.any() ? "" : to_string(match.ip)}, {"prefix", match.prefix}, {"port", match.port}};
}

Result<IpAddress> resolve_host(broker::Broker& broker, const std::string& name) {
  if (name.empty()) return IpAddress{};
  if (auto ip = IpAddress::parse(name)) return ip;
  for (const auto& peer : broker.world().negotiation->peers())
    if (peer.host == name) return peer.line.ip;
  return fail(EHOSTUNREACH, "host '{}' is not known here", name);
}

}  // namespace

asio::awaitable<Result<Response>> get_events(broker::Broker& broker, Session& session, Request& request) {
  std::string service = request.parameter("service");
  if (service.empty()) service = "default";
  CO_TRY(broker.world().policy.may_import(service, request.user));
  auto outbox = std::make_shared<Outbox>(session.socket().get_executor());
  auto& lists = broker.world().lists;
  const auto watch = lists.watch(service, request.user, [outbox] { outbox->import_possible(); });
  const auto holder = broker.export_requests().hold(service, [outbox](const broker::ExportWish& wish) {
    const nlohmann::json data{{"request", wish.request}, {"local", to_json(wish.local)}, {"remote", to_json(wish.remote)},
                              {"to", wish.to.any() ? "" : to_string(wish.to)}};
    outbox->put("event: export\ndata: " + data.dump() + "\n\n");
  });
  if (lists.ready_count(service) > 0) outbox->import_possible();
  if (!co_await session.begin_stream("text/event-stream")) co_return Response{.status = 0};
  for (;;) {
    const auto filled = outbox->filled;
    const auto outcome = co_await (filled->wait() || session.wait_gone());
    if (outcome.index() == 1) break;
    const std::string text = outbox->take();
    if (!co_await session.send(Secret(text.begin(), text.end()))) break;
  }
  co_return Response{.status = 0};
}

asio::awaitable<Result<Response>> post_request(broker::Broker& broker, Session&, Request& request) {
  const auto& body = request.http.body();
  const auto wish = nlohmann::json::parse(body.begin(), body.end(), nullptr, /*allow_exceptions=*/false);
  if (!wish.is_object()) co_return fail(EINVAL, "the body is no JSON object");
  const auto text = [&](const char* key, const char* otherwise) {
    const auto it = wish.find(key);
    return it != wish.end() && it->is_string() ? it->get<std::string>() : std::string(otherwise);
  };
  const std::string service = text("service", "default");
  CO_TRY(broker.world().policy.may_export(service, request.user));
  CO_TRY_LET(local, broker::Match::parse(text("local", "")));
  CO_TRY_LET(remote, broker::Match::parse(text("peer", "")));
  CO_TRY_LET(to, resolve_host(broker, text("to", "")));
  const broker::ExportWish asked{.local = local, .remote = remote, .to = to};
  auto outcome = co_await broker.export_requests().ask(service, asked, broker::milliseconds(60000));
  if (outcome.applications == 0) co_return fail(ESRCH, "no application here holds connections of service '{}'", service);
  co_return json_response(200, {{"applications", outcome.applications}, {"answered", outcome.answered}, {"exported", outcome.exported},
                       {"failed", outcome.failed}});
}

asio::awaitable<Result<Response>> post_request_done(broker::Broker& broker, Session&, Request& request) {
  const auto number = [&](const char* key) { return std::strtoull(request.parameter(key).c_str(), nullptr, 10); };
  CO_TRY(broker.export_requests().done(number("request"), static_cast<unsigned>(number("exported")), static_cast<unsigned>(number("failed"))));
  co_return json_response(200, nlohmann::json::object());
}

}  // namespace sockmi::api
