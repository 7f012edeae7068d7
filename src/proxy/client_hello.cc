// RFC 8446, sections 4.1.2 and 5.1; RFC 6066, section 3.
#include "proxy/client_hello.h"

#include "proxy/byte_reader.h"
#include "proxy/server_names.h"

namespace sockmi::proxy {
namespace {

constexpr unsigned kHandshakeRecord = 22, kClientHello = 1, kServerName = 0, kHostName = 0;
constexpr std::size_t kMaxRecordBytes = 16 << 10;
constexpr std::size_t kHeadBytes = 4;  // of a handshake message

std::unexpected<Error> malformed() {
  return fail(EPROTO, "malformed ClientHello");
}

// Returns the bytes of the handshake message, which may be spread over several records;
// fewer if there are not more yet.
Result<Bytes> join_records(ByteView bytes) {
  Bytes message;
  for (ByteReader reader(bytes); reader.left() > 0;) {
    if (reader.number(1) != kHandshakeRecord) return fail(EPROTO, "this is not TLS");
    if (reader.left() < 4) break;
    if (reader.number(1) != 3) return fail(EPROTO, "this is not TLS");
    reader.number(1);
    const std::size_t size = reader.number(2);
    if (size == 0 || size > kMaxRecordBytes) return malformed();
    const auto part = reader.take(std::min(size, reader.left()));
    message.insert(message.end(), part.begin(), part.end());
    if (part.size() < size) break;
    // Records behind the message are not the ClientHello's.
    if (message.size() >= kHeadBytes) {
      ByteReader head(message);
      head.number(1);
      if (message.size() >= kHeadBytes + head.number(3)) break;
    }
  }
  return message;
}

Result<ClientHello> read_body(ByteReader body) {
  constexpr std::size_t kVersionAndRandom = 2 + 32;
  body.take(kVersionAndRandom);
  body.part(1);  // session id
  body.part(2);  // cipher suites
  body.part(1);  // compression methods
  if (body.failed()) return malformed();
  ClientHello hello;
  if (body.left() == 0) return hello;
  ByteReader extensions = body.part(2);
  while (extensions.left() > 0) {
    const auto type = extensions.number(2);
    const std::size_t size = extensions.number(2);
    const auto extension = extensions.take(size);
    if (extensions.failed()) return malformed();
    if (type != kServerName) continue;
    TRY_LET(name, read_server_name(extension));
    hello.server_name = std::move(name);
  }
  if (body.failed() || extensions.failed()) return malformed();
  return hello;
}

}  // namespace

Result<std::string> read_server_name(ByteView extension) {
  ByteReader reader(extension);
  for (ByteReader list = reader.part(2); list.left() > 0;) {
    const auto type = list.number(1);
    ByteReader name = list.part(2);
    if (list.failed() || name.failed()) return malformed();
    if (type == kHostName) return small_letters(name.text());
  }
  if (reader.failed()) return malformed();
  return "";
}

Result<std::optional<ClientHello>> read_client_hello(ByteView bytes) {
  TRY_LET(message, join_records(bytes));
  ByteReader reader(message);
  if (message.empty()) return std::nullopt;
  if (reader.number(1) != kClientHello) return fail(EPROTO, "this is not a ClientHello");
  const bool has_size = reader.left() >= kHeadBytes - 1;
  const std::size_t size = has_size ? reader.number(3) : 0;
  if (size > kMaxClientHelloBytes) return fail(EPROTO, "the ClientHello is too long");
  if (!has_size || reader.left() < size) {
    if (bytes.size() >= kMaxClientHelloBytes) return fail(EPROTO, "the ClientHello is too long");
    return std::nullopt;
  }
  TRY_LET(hello, read_body(ByteReader(reader.take(size))));
  return std::optional(std::move(hello));
}

}  // namespace sockmi::proxy
