// Reads server-sent events (WHATWG HTML, 9.2) from the daemon, one per call. Data read
// beyond an event is kept for the next call, in a table by descriptor: the C API gives
// its user only a descriptor to poll, and no other handle.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <span>

#include <sockmi/sockmi.h>
#include <nlohmann/json.hpp>

#include "base/address.h"
#include "base/percent.h"
#include "lib/daemon_requests.h"
#include "lib/http_client.h"
#include "lib/last_error.h"

namespace sockmi::lib {
namespace {

// Identifies a socket for as long as the kernel runs. Errors: of getsockopt(2).
Result<std::uint64_t> cookie_of(int fd) {
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) != 0)
    return fail_errno("cannot read SO_COOKIE");
  return cookie;
}

// The application may close a descriptor with close(2), and its number may then belong to
// another file. So a registration is valid only while its descriptor is the same socket.
struct Registration {
  std::uint64_t cookie;
  std::string unread;

  bool is_of(int fd) const {
    const auto now = cookie_of(fd);
    return now && *now == cookie;
  }
};

std::mutex mutex;
std::map<int, Registration> registrations;  // by descriptor

// Returns the registration of a descriptor; null if there is none. Its data remain valid
// while `mutex` is locked.
Registration* find(int fd) {
  const auto it = registrations.find(fd);
  return it != registrations.end() && it->second.is_of(fd) ? &it->second : nullptr;
}

int report_foreign() {
  return report({EBADF, "not a descriptor of sockmi_event_open()"});
}

// RFC 3986, section 2.3.
bool is_unreserved(unsigned char c) {
  return std::isalnum(c) || std::strchr("-._~", c);
}

void read_match(const nlohmann::json& from, sockmi_match& to) {
  to = {};
  if (!from.is_object()) return;
  to.port = from.value("port", std::uint16_t{0});
  const auto ip = IpAddress::parse(from.value("ip", std::string()));
  if (!ip) return;
  to.af = ip->family;
  to.prefix = from.value("prefix", 0u);
  std::memcpy(to.addr, ip->bytes.data(), ip->size());
}

bool read_event(const std::string& text, sockmi_event& event) {
  event = {};
  if (text.starts_with("event: import\n")) {
    event.type = SOCKMI_EVENT_IMPORT;
    return true;
  }
  const auto data = text.find("\ndata: ");
  // Otherwise a kind of event that a later version may send.
  if (!text.starts_with("event: export\n") || data == text.npos) return false;
  const auto json =
      nlohmann::json::parse(text.substr(data + 7), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return false;
  event.type = SOCKMI_EVENT_EXPORT;
  event.request = json.value("request", std::uint64_t{0});
  read_match(json.value("local", nlohmann::json()), event.local);
  read_match(json.value("peer", nlohmann::json()), event.remote);
  if (const auto to = IpAddress::parse(json.value("to", std::string()))) {
    event.af = to->family;
    std::memcpy(event.to, to->bytes.data(), to->size());
  }
  return true;
}

// In one request: the daemon reads 64 KiB at most.
constexpr std::size_t kMostAnswers = 256;

// Sends answers together, and sets their errors. Errors: ENOENT if the daemon's version
// knows one answer at a time; of the request.
Result<> send_together(std::span<sockmi_export_answer> answers) {
  nlohmann::json rows = nlohmann::json::array();
  for (const sockmi_export_answer& each : answers)
    rows.push_back({each.request, each.exported, each.failed});
  const std::string body = nlohmann::json{{"answers", std::move(rows)}}.dump();
  const Deadline until = soon();
  TRY_LET(client, Client::connect(until));
  const ByteView bytes(reinterpret_cast<const std::uint8_t*>(body.data()), body.size());
  TRY_LET(reply, client.call("POST", "/v1/requests/done", bytes, until));
  const auto said = nlohmann::json::parse(reply.body.begin(), reply.body.end(), nullptr,
                                          /*allow_exceptions=*/false);
  const auto errors = said.is_object() ? said.find("errors") : said.end();
  const bool is_list = errors != said.end() && errors->is_array() &&
                       errors->size() == answers.size() &&
                       std::all_of(errors->begin(), errors->end(),
                                   [](const auto& each) { return each.is_number_integer(); });
  if (!is_list) return fail(EBADMSG, "malformed reply from sockmid");
  for (std::size_t i = 0; i < answers.size(); ++i)
    answers[i].error = (*errors)[i].template get<int>();
  return {};
}

Result<> send_one(const sockmi_export_answer& answer) {
  const Deadline until = soon();
  TRY_LET(client, Client::connect(until));
  TRY(client.call("POST",
                  fmt::format("/v1/requests/done?request={}&exported={}&failed={}", answer.request,
                              answer.exported, answer.failed),
                  {}, until));
  return {};
}

Result<> send_one_by_one(std::span<sockmi_export_answer> answers) {
  for (sockmi_export_answer& each : answers) {
    const auto sent = send_one(each);
    each.error = sent ? 0 : sent.error().code;
    if (!sent && sent.error().code != ENOENT) return sent;
  }
  return {};
}

// Appends what the socket has to `text`. Errors: EPIPE at the end of the stream.
Result<> fill(int fd, std::string& text) {
  char bytes[4096];
  const ssize_t got = ::recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
  if (got > 0) {
    text.append(bytes, static_cast<std::size_t>(got));
    return {};
  }
  if (got == 0) return fail(EPIPE, "sockmid closed the connection");
  if (errno == EAGAIN || errno == EINTR) return {};
  return fail_errno("cannot receive events from sockmid");
}

}  // namespace
}  // namespace sockmi::lib

using namespace sockmi;
using namespace sockmi::lib;

int sockmi_event_open(const char* service) {
  clear_error();
  const Deadline until = soon();
  auto client = Client::connect(until);
  if (!client) return report(client.error());
  auto stream = std::move(*client).stream(
      "/v1/events?service=" + percent_encode(service ? service : "default", is_unreserved), until);
  if (!stream) return report(stream.error());
  const auto cookie = cookie_of(stream->get());
  if (!cookie) return report(cookie.error());
  std::lock_guard lock(mutex);
  std::erase_if(registrations, [](const auto& one) { return !one.second.is_of(one.first); });
  registrations.insert_or_assign(stream->get(), Registration{*cookie, {}});
  return stream->release();
}

int sockmi_event_close(int fd) {
  clear_error();
  std::lock_guard lock(mutex);
  if (!find(fd)) return report_foreign();
  registrations.erase(fd);
  ::close(fd);
  return 0;
}

int sockmi_event_next(int fd, sockmi_event* event) {
  clear_error();
  std::lock_guard lock(mutex);
  Registration* registration = find(fd);
  if (!registration) return report_foreign();
  std::string& text = registration->unread;
  auto filled = fill(fd, text);
  for (auto end = text.find("\n\n"); end != text.npos; end = text.find("\n\n")) {
    const bool known = read_event(text.substr(0, end + 1), *event);
    text.erase(0, end + 2);
    if (known) return 1;
  }
  return filled ? 0 : report(filled.error());
}

int sockmi_export_done(uint64_t request, unsigned exported, unsigned failed) {
  clear_error();
  const sockmi_export_answer answer{
      .request = request, .exported = exported, .failed = failed, .error = 0, .reserved = {}};
  const auto sent = send_one(answer);
  return sent ? 0 : report(sent.error());
}

int sockmi_exports_done(sockmi_export_answer* answers, unsigned nanswers) {
  clear_error();
  const std::span all(answers, nanswers);
  for (sockmi_export_answer& each : all) {
    if (const auto known = check_reserved(each); !known) return report(known.error());
    each.error = ECANCELED;
  }
  Result<> sent;
  for (std::size_t at = 0; sent && at < all.size(); at += kMostAnswers) {
    const auto part = all.subspan(at, std::min(kMostAnswers, all.size() - at));
    sent = send_together(part);
    if (!sent && sent.error().code == ENOENT) sent = send_one_by_one(part);
  }
  if (!sent) {
    for (sockmi_export_answer& each : all)
      if (each.error == ECANCELED) each.error = sent.error().code;
    return report(sent.error());
  }
  return static_cast<int>(std::ranges::count(all, 0, &sockmi_export_answer::error));
}
