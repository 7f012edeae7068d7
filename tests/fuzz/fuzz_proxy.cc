// What others send to sockmi-proxy. The first letter selects what is read:
//   p  a header of the PROXY protocol: as it is delivered, it is read or refused; what
//      was read can be written, and is read again as the same
//   h  a ClientHello, also in parts
//   a  a list of application protocols: what was read can be written, and is the same
//   s  the state of a connection: what can be read can be written, and is read again as
//      the same
#include <algorithm>
#include <cstdlib>

#include "proxy/alpn.h"
#include "proxy/client_hello.h"
#include "proxy/proxy_header.h"
#include "proxy/relay_state.h"

using namespace sockmi;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void read_header(ByteView bytes) {
  std::size_t used = 0, missing = 1;
  proxy::ProxyHeader header;
  for (; missing > 0; missing = header.missing) {
    if (missing > bytes.size() - used) return;
    used += missing;
    auto read = proxy::read_proxy_header(bytes.first(used));
    if (!read) return;
    header = *read;
  }
  require(used <= proxy::kMaxProxyHeaderBytes);
  for (const auto version : {proxy::ProxyVersion::One, proxy::ProxyVersion::Two}) {
    const auto again =
        proxy::read_proxy_header(proxy::write_proxy_header(version, header.client, header.local));
    require(again && again->client == header.client && again->local == header.local);
  }
}

void read_hello(ByteView bytes) {
  const auto whole = proxy::read_client_hello(bytes);
  // A part of what is read needs more, or is read alike.
  const auto part = proxy::read_client_hello(bytes.first(bytes.size() / 2));
  if (whole && *whole && part && *part) require((*whole)->server_name == (*part)->server_name);
  if (whole && *whole) require(part.has_value());
}

void read_list(ByteView bytes) {
  const auto protocols = proxy::read_protocols(bytes);
  if (protocols) require(std::ranges::equal(proxy::write_protocols(*protocols), bytes));
}

void read_state(ByteView bytes) {
  const auto state = proxy::decode(bytes);
  if (!state) return;
  require(state->to_backend.pending.size() <= proxy::kMaxPendingBytes);
  const auto again = proxy::decode(proxy::encode(*state));
  require(again && again->service == state->service && again->client == state->client &&
          again->begun == state->begun && again->idle_left == state->idle_left &&
          again->to_client.pending == state->to_client.pending &&
          again->to_client.end == state->to_client.end);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  // A copy, so that the sanitizer sees what reads beyond the end.
  const Bytes bytes(data + 1, data + size);
  if (data[0] == 'p') read_header(bytes);
  if (data[0] == 'h') read_hello(bytes);
  if (data[0] == 'a') read_list(bytes);
  if (data[0] == 's') read_state(bytes);
  return 0;
}
