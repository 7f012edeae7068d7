// Implements libsockmi, the C API for sockets without TLS.
#include <cstdlib>
#include <span>

#include <sockmi/sockmi.h>

#include "base/endpoint_state.h"
#include "lib/daemon_requests.h"
#include "lib/export_batches.h"
#include "lib/last_error.h"

namespace sockmi::lib {
namespace {
thread_local std::string last_error;
}  // namespace

int report(const Error& error) {
  last_error = to_string(error);
  errno = error.code;
  return -1;
}

void clear_error() {
  last_error.clear();
}

}  // namespace sockmi::lib

using namespace sockmi;
using namespace sockmi::lib;

const char* sockmi_version(void) {
  return SOCKMI_VERSION_STRING;
}

const char* sockmi_last_error(void) {
  return last_error.c_str();
}

int sockmi_export_socket_with(int fd, int state, int af, const void* to,
                              const sockmi_export_options* options) {
  clear_error();
  if (state & ~kSocketStates) return report({EINVAL, "a TLS state: use export_ssl()"});
  const auto known = options ? check_options(*options, af, to) : Result<>();
  if (!known) return report(known.error());
  const auto exported = export_endpoint(fd, static_cast<unsigned>(state), af, to, {}, options);
  return exported ? 0 : report(exported.error());
}

int export_socket(int fd, int state, int af, const void* to) {
  return sockmi_export_socket_with(fd, state, af, to, nullptr);
}

int sockmi_export_sockets(sockmi_export_socket_req* reqs, unsigned nreqs, int af, const void* to,
                          const sockmi_export_options* options) {
  clear_error();
  static constexpr sockmi_export_options kNone{};
  const sockmi_export_options& chosen = options ? *options : kNone;
  for (sockmi_export_socket_req& request : std::span(reqs, nreqs))
    request.error = ECANCELED;
  if (const auto known = check_options(chosen, af, to); !known) return report(known.error());
  ExportCall call;
  std::vector<int> states;
  for (const sockmi_export_socket_req& request : std::span(reqs, nreqs)) {
    if (const auto known = check_reserved(request); !known) return report(known.error());
    if (request.state & ~kSocketStates) return report({EINVAL, "a TLS state: use export_ssl()"});
    call.groups.push_back(request.group);
    states.push_back(request.state);
  }
  if (const auto known = check_groups(call.groups, states); !known) return report(known.error());
  call.prepare = [&](std::size_t i) -> Result<ExportItem> {
    return ExportItem{reqs[i].fd,
                      static_cast<unsigned>(reqs[i].state),
                      {},
                      {static_cast<const std::uint8_t*>(reqs[i].payload), reqs[i].payload_len}};
  };
  int gone = 0;
  call.settle = [&](std::size_t i, const Result<>& result) {
    reqs[i].error = result ? 0 : result.error().code;
    if (result) {
      ++gone;
    } else {
      (void)report(result.error());
    }
  };
  export_endpoints(call, af, to, chosen);
  return gone > 0 || nreqs == 0 ? gone : -1;
}

int import_socket(sockmi_import_socket_req* irqs, unsigned nirqs, int timeout) {
  clear_error();
  const std::span requests(irqs, nirqs);
  for (auto& request : requests) {
    clear(request);
    request.state = 0;
  }
  std::vector<ImportCriteria> criteria;
  for (const auto& request : requests) {
    if (const auto known = check_reserved(request); !known) return report(known.error());
    const unsigned states = request.criteria.states ? request.criteria.states : SOCKMI_CONNECTED;
    if (states & ~kSocketStates) return report({EINVAL, "a TLS state: use import_ssl()"});
    criteria.push_back({&request.criteria, states, static_cast<unsigned>(request.preferred_state)});
  }
  const auto accept = [&](ImportedEndpoint arrived) -> Result<> {
    auto& request = requests[arrived.request];
    TRY(ask(request, arrived.payload));
    TRY_LET(payload, copy_payload(arrived.payload));
    request.payload = payload;
    request.payload_len = arrived.payload.size();
    request.state = static_cast<int>(arrived.state);
    request.group = arrived.group;
    request.fd = arrived.socket.release();
    return {};
  };
  const auto imported = import_endpoints(criteria, timeout, accept, [&](std::size_t i) {
    give_up(requests[i]);
    requests[i].state = 0;
  });
  return imported ? static_cast<int>(*imported) : report(imported.error());
}
