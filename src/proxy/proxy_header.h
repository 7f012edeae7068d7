// Reads and writes the header of the PROXY protocol, versions 1 and 2: what a proxy says
// to the next server about the client, before the client's bytes. haproxy.org,
// proxy-protocol.txt.
#pragma once

#include "base/address.h"

namespace sockmi::proxy {

struct ProxyHeader {
  SocketAddress client, local;  // unspecified if the sender does not know, or speaks for itself
  std::size_t missing = 0;      // so many more bytes belong to the header at least; 0: it is whole
};

enum class ProxyVersion { None, One, Two };

// What is longer is refused: version 1 has at most 107 bytes, version 2 may carry more
// about TLS.
inline constexpr std::size_t kMaxProxyHeaderBytes = 2048;

// Reads the bytes that have come. Errors: EPROTO if this is no header, or a malformed
// one.
//
// A reader that each time receives no more than `missing` takes no byte of the client.
Result<ProxyHeader> read_proxy_header(ByteView bytes);

// Makes a header. Without addresses, or with two of different families, it says that the
// client is not known.
Bytes write_proxy_header(ProxyVersion version, const SocketAddress& client,
                         const SocketAddress& local);

}  // namespace sockmi::proxy
