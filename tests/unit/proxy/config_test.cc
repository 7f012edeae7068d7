#include "proxy/config.h"

#include <gtest/gtest.h>

namespace sockmi::proxy {
namespace {

constexpr std::string_view kSmallest = R"(
[listener.web]
listen = ["127.0.0.1:80"]
service = "app"
[service.app.backend.one]
address = "127.0.0.1:8080"
)";

std::string error_of(const std::string& text) {
  const auto config = parse_config(text, "f");
  return config ? "" : config.error().reason;
}

TEST(Config, SmallestConfigurationHasTheDefaults) {
  const auto config = parse_config(kSmallest, "f");

  ASSERT_TRUE(config) << config.error().reason;
  EXPECT_EQ(config->threads, 0u);
  EXPECT_EQ(config->listeners.at("web").max_connections, 10'000u);
  EXPECT_TRUE(config->listeners.at("web").v6only);
  EXPECT_EQ(config->services.at("app").attempts, 3u);
  EXPECT_EQ(to_string(config->services.at("app").backends.at("one").address), "127.0.0.1:8080");
}

TEST(Config, EachKindOfAddressIsRead) {
  const auto config = parse_config(R"(
[listener.web]
listen = ["0.0.0.0:80", "[::]:80", "unix:/run/web", "systemd:web"]
service = "app"
[service.app.backend.one]
address = "unix:/run/app"
[service.app.backend.two]
address = "app.example:80"
)",
                                   "f");

  ASSERT_TRUE(config) << config.error().reason;
  const auto& addresses = config->listeners.at("web").addresses;
  EXPECT_EQ(addresses[1].family(), AF_INET6);
  EXPECT_EQ(addresses[2].family(), AF_UNIX);
  EXPECT_EQ(to_string(addresses[3]), "systemd:web");
  const auto& backends = config->services.at("app").backends;
  EXPECT_EQ(to_string(backends.at("one").address), "unix:/run/app");
  EXPECT_EQ(to_string(backends.at("two").address), "app.example:80");
}

TEST(Config, MovesAreOffUnlessTheyAreEnabled) {
  const std::string moves = "[moves]\nenabled = true\nsocket = \"/run/d.sock\"\n";

  const auto without = parse_config(kSmallest, "f");
  const auto with = parse_config(std::string(kSmallest) + moves, "f");

  ASSERT_TRUE(without && with);
  EXPECT_FALSE(without->moves.enabled);
  EXPECT_TRUE(with->moves.enabled);
  EXPECT_EQ(with->moves.socket, "/run/d.sock");
  EXPECT_EQ(error_of(std::string(kSmallest) + "[moves]\non = true\n"),
            "f: line 8: moves.on: unknown key");
}

TEST(Config, ErrorsNameLineAndKey) {
  const std::string good(kSmallest);

  EXPECT_EQ(error_of("thread = 1\n" + good), "f: line 1: thread: unknown key");
  EXPECT_EQ(error_of("threads = 0\n" + good), "f: line 1: threads: expected 1 to 256");
  EXPECT_EQ(error_of(good + "weight = 1\n"),
            "f: line 7: service.app.backend.one.weight: unknown key");
  EXPECT_EQ(error_of("= 1"), error_of("= 1"));
  EXPECT_NE(error_of("= 1").find("f:1: "), std::string::npos);
}

TEST(Config, TablesThatDoNotFitTogetherAreRefused) {
  const std::string good(kSmallest);

  EXPECT_EQ(error_of(""), "f: missing table 'listener.NAME'");
  EXPECT_EQ(error_of("[listener.a]\nlisten=['127.0.0.1:1']\nservice='b'"),
            "f: listener.a.service: there is no service 'b'");
  EXPECT_EQ(error_of("[service.a]\n" + good), "f: missing table 'service.a.backend.NAME'");
  EXPECT_EQ(error_of(good + "[listener.b]\nlisten=['127.0.0.1:80']\nservice='app'"),
            "f: listener.web.listen: 127.0.0.1:80 is listed twice");
  EXPECT_EQ(error_of(good + "[service.'a b'.backend.c]\naddress='127.0.0.1:1'"),
            "f: service.a b: expected a name of letters, digits and '-_.', of at most 64 bytes");
  EXPECT_EQ(error_of("service = 3\n"), "f: service: expected tables");
}

TEST(Config, CertificatesAndRoutesFitTheTlsMode) {
  const std::string good(kSmallest);
  const std::string certificate = "[listener.web.certificate.a]\nchain = 'c'\nkey = 'k'\n";
  const auto with_tls = [&](const std::string& mode) {
    std::string text = good;
    return text.replace(text.find("service ="), 0, "tls = '" + mode + "'\n");
  };

  EXPECT_EQ(error_of(with_tls("terminate") + certificate), "");
  EXPECT_EQ(error_of(with_tls("on")),
            "f: line 4: listener.web.tls: expected off, terminate or pass");
  EXPECT_NE(error_of(with_tls("terminate")).find("certificate: needed"), std::string::npos);
  EXPECT_NE(error_of(with_tls("pass") + certificate).find("certificate: needed"),
            std::string::npos);
  const std::string route = "[listener.web.route.r]\nnames = ['*.a']\nservice = 'app'\n";
  EXPECT_EQ(error_of(with_tls("pass") + route), "");
  EXPECT_NE(error_of(good + route).find("without TLS"), std::string::npos);
  EXPECT_NE(error_of(with_tls("pass") + "[listener.web.route.r]\nnames = ['a.*']\n").find("'a.*'"),
            std::string::npos);
}

TEST(Config, TlsOfABackendHasAllThatItNeeds) {
  const std::string good(kSmallest);

  EXPECT_EQ(error_of(good + "tls = true\nserver_name = 'a.example'\nchain = 'c'\nkey = 'k'\n"), "");
  EXPECT_NE(error_of(good + "tls = true\n").find("server_name: needed"), std::string::npos);
  EXPECT_NE(error_of(good + "tls = true\nserver_name = '*.a'\n").find("server_name: needed"),
            std::string::npos);
  EXPECT_NE(error_of(good + "tls = true\nserver_name = 'a'\nkey = 'k'\n").find("chain: needed"),
            std::string::npos);
  EXPECT_NE(error_of(good + "authorities = 'a'\n").find("tls: needed"), std::string::npos);
}

TEST(StreamAddress, UnixPathsAreAbsoluteAndFit) {
  EXPECT_FALSE(StreamAddress::parse("unix:run"));
  EXPECT_FALSE(StreamAddress::parse("unix:/" + std::string(108, 'a')));
  EXPECT_FALSE(StreamAddress::parse("127.0.0.1:0"));
  EXPECT_FALSE(StreamAddress::parse("systemd:"));
  EXPECT_TRUE(StreamAddress::parse("unix:/" + std::string(106, 'a')));
}

}  // namespace
}  // namespace sockmi::proxy
