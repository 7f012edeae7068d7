#include "proxy/proxy_header.h"

#include <gtest/gtest.h>

namespace sockmi::proxy {
namespace {

Bytes bytes_of(std::string_view text) {
  return Bytes(text.begin(), text.end());
}

// Reads a header as a stream delivers it: never more than what is missing.
Result<ProxyHeader> read_stepwise(const Bytes& bytes, std::size_t& used) {
  used = 0;
  for (std::size_t missing = 1;;) {
    if (used + missing > bytes.size()) return fail(ENODATA, "more than there is");
    used += missing;
    auto header = read_proxy_header(ByteView(bytes).first(used));
    if (!header || header->missing == 0) return header;
    missing = header->missing;
  }
}

TEST(ProxyHeader, MappedAddressesAreIpv4) {
  const std::string line = "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.1 56324 443\r\n";
  const auto header = read_proxy_header(bytes_of(line));

  ASSERT_TRUE(header) << header.error().reason;
  EXPECT_EQ(to_string(header->client), "192.0.2.1:56324");
  EXPECT_EQ(to_string(header->local), "198.51.100.1:443");
}

TEST(ProxyHeader, WrittenHeadersAreReadAndNothingBehindThem) {
  struct Case {
    const char *client, *local;
  };
  for (const auto& [client_text, local_text] :
       {Case{"192.0.2.1:56324", "198.51.100.1:443"}, Case{"[fd00::1]:1", "[fd00::2]:65535"}}) {
    const auto client = *SocketAddress::parse(client_text);
    const auto local = *SocketAddress::parse(local_text);
    for (const auto version : {ProxyVersion::One, ProxyVersion::Two}) {
      Bytes bytes = write_proxy_header(version, client, local);
      const std::size_t size = bytes.size();
      bytes.insert(bytes.end(), 100, 'x');
      std::size_t used = 0;
      const auto header = read_stepwise(bytes, used);
      ASSERT_TRUE(header) << header.error().reason;
      EXPECT_EQ(used, size);
      EXPECT_EQ(header->client, client);
      EXPECT_EQ(header->local, local);
    }
  }
}

TEST(ProxyHeader, TextIsThatOfTheSpecification) {
  const Bytes bytes =
      write_proxy_header(ProxyVersion::One, *SocketAddress::parse("192.0.2.1:56324"),
                         *SocketAddress::parse("198.51.100.1:443"));

  EXPECT_EQ(std::string(bytes.begin(), bytes.end()),
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n");
}

TEST(ProxyHeader, UnknownClientsHaveNoAddress) {
  for (const auto version : {ProxyVersion::One, ProxyVersion::Two}) {
    const Bytes bytes = write_proxy_header(version, {}, {});
    std::size_t used = 0;
    const auto header = read_stepwise(bytes, used);
    ASSERT_TRUE(header) << header.error().reason;
    EXPECT_EQ(used, bytes.size());
    EXPECT_TRUE(header->client.ip.any());
  }
}

TEST(ProxyHeader, MalformedHeadersAreRefused) {
  const std::string signature("\r\n\r\n\0\r\nQUIT\n", 12);
  for (const std::string& text : {
           std::string("GET / HTTP/1.1\r\n"),
           std::string("PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n"),
           std::string("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 1\r\n"),
           std::string("PROXY TCP4 192.0.2.1 198.51.100.1 56324 65536\r\n"),
           std::string("PROXY TCP4 192.0.2.1 198.51.100.1 56324 -443\r\n"),
           std::string("PROXY TCP6 192.0.2.1 198.51.100.1 56324 443\r\n"),
           std::string("PROXY UDP4 192.0.2.1 198.51.100.1 56324 443\r\n"),
           "PROXY TCP4 " + std::string(200, '1'),
           signature + std::string("\x11\x11\0\x0c", 4),    // version 1
           signature + std::string("\x22\x11\0\x0c", 4),    // command 2
           signature + std::string("\x21\x11\xff\xff", 4),  // too long
           signature + std::string("\x21\x11\0\x04"
                                   "1234",
                                   8),  // too short for addresses
       }) {
    std::size_t used = 0;
    const auto header = read_stepwise(bytes_of(text), used);
    ASSERT_FALSE(header) << text;
    EXPECT_EQ(header.error().code, EPROTO) << text;
  }
}

TEST(ProxyHeader, ExtensionsAreSkipped) {
  Bytes bytes = write_proxy_header(ProxyVersion::Two, *SocketAddress::parse("192.0.2.1:1"),
                                   *SocketAddress::parse("192.0.2.2:2"));
  bytes[15] = 12 + 5;
  bytes.insert(bytes.end(), {1, 0, 2, 'h', '2'});
  std::size_t used = 0;

  const auto header = read_stepwise(bytes, used);

  ASSERT_TRUE(header);
  EXPECT_EQ(used, bytes.size());
  EXPECT_EQ(to_string(header->client), "192.0.2.1:1");
}

}  // namespace
}  // namespace sockmi::proxy
