#include "proxy/export_relays.h"

#include <netinet/tcp.h>
#include <sockmi/appsockmi.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "base/freeze_mark.h"

namespace sockmi::proxy {
namespace {

constexpr int kTimeoutMs = 24'000;

template <class Value>
Value option_of(const Stream& leg, int level, int name) {
  Value value{};
  socklen_t size = sizeof value;
  (void)::getsockopt(leg.fd(), level, name, &value, &size);
  return value;
}

bool is_frozen(const Stream& leg) {
  return option_of<std::uint32_t>(leg, SOL_SOCKET, SO_MARK) == kFreezeMark;
}

// An endpoint that has moved is closed, for all of its descriptors.
bool has_ended(const Stream& leg) {
  return option_of<tcp_info>(leg, IPPROTO_TCP, TCP_INFO).tcpi_state == TCP_CLOSE;
}

bool is_tcp(const Stream& leg) {
  return option_of<int>(leg, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP;
}

int state_of(SSL* ssl) {
  if (!ssl) return SOCKMI_CONNECTED;
  return SSL_is_server(ssl) ? SOCKMI_SERVER_ESTABLISHED : SOCKMI_CLIENT_ESTABLISHED;
}

sockmi_export_ssl_req request_for(Stream& leg, unsigned group) {
  sockmi_export_ssl_req request{};
  request.ssl = leg.ssl();
  request.fd = leg.fd();
  request.state = state_of(request.ssl);
  request.group = group;
  return request;
}

// A leg that has ended in both directions stays, and its socket may have ended as well.
std::vector<Stream*> legs_of(Relay::Parts& parts) {
  std::vector<Stream*> legs;
  if (parts.state.needs_client()) legs.push_back(parts.client.get());
  if (parts.state.needs_backend()) legs.push_back(parts.backend.get());
  return legs;
}

// ECONNABORTED: the other host has lost the connection after the decision.
bool was_decided(int error) {
  return error == 0 || error == ECONNABORTED;
}

void add(ExportResult& result, int error, std::string reason) {
  auto& [count, text] = result.errors[error];
  if (count++ == 0) text = std::move(reason);
}

}  // namespace

Fate fate_of(StoppedRelay& relay) {
  const auto legs = legs_of(relay.parts);
  if (std::ranges::all_of(legs, [](auto* leg) { return has_ended(*leg); })) return Fate::Moved;
  if (std::ranges::any_of(legs, [](auto* leg) { return is_frozen(*leg); })) return Fate::Unknown;
  return Fate::Stays;
}

ExportResult export_relays(std::span<StoppedRelay> relays, const ExportTarget& target) {
  ExportResult result;
  result.fates.assign(relays.size(), Fate::Stays);
  std::vector<sockmi_export_ssl_req> requests;
  std::vector<Secret> states;
  std::vector<std::size_t> which;  // relay of each request
  for (std::size_t i = 0; i < relays.size(); ++i) {
    const auto legs = legs_of(relays[i].parts);
    if (!std::ranges::all_of(legs, [](auto* leg) { return is_tcp(*leg); })) {
      add(result, EPROTONOSUPPORT, "a connection by a Unix socket cannot move");
      continue;
    }
    const auto group = legs.size() > 1 ? static_cast<unsigned>(i + 1) : 0;
    const Secret& state = states.emplace_back(encode(relays[i].parts.state));
    for (Stream* leg : legs) {
      requests.push_back(request_for(*leg, group));
      which.push_back(i);
    }
    sockmi_export_ssl_req& first = requests[requests.size() - legs.size()];
    first.payload = state.data();
    first.payload_len = state.size();
  }
  if (requests.empty()) return result;
  sockmi_export_options options{};
  options.service = target.service.c_str();
  options.timeout = kTimeoutMs;
  (void)sockmi_export_ssls(requests.data(), static_cast<unsigned>(requests.size()), target.family,
                           target.host.data(), &options);
  const Error last{errno, sockmi_last_error()};
  std::map<std::size_t, int> failed;  // relays, with the error
  for (std::size_t k = 0; k < requests.size(); ++k) {
    if (was_decided(requests[k].error)) {
      result.fates[which[k]] = Fate::Moved;
    } else {
      failed[which[k]] = requests[k].error;
    }
  }
  for (const auto& [i, error] : failed) {
    if (result.fates[i] == Fate::Moved) continue;  // and one of its connections has ended
    const Fate fate = fate_of(relays[i]);
    if (fate == Fate::Unknown) result.fates[i] = fate;
    // In doubt when the call ended, and decided since. After another error it has not
    // moved: if all of its connections have ended, their peers have done that.
    if (error == EINPROGRESS && fate == Fate::Moved) {
      result.fates[i] = fate;
      continue;
    }
    add(result, error, error == last.code ? last.reason : std::strerror(error));
  }
  return result;
}

}  // namespace sockmi::proxy
