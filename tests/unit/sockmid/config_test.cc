// Tests which configurations are accepted, and what the error says of the others.
#include "sockmid/config.h"

#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/temporary_folder.h"

namespace sockmi::sockmid {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using namespace std::chrono_literals;

const std::string kRequired = "address = '192.0.2.1'\ninterfaces = ['eth0']\n";

Config parsed(const std::string& text) {
  auto config = parse_config(text, "file");
  EXPECT_TRUE(config) << text << ": " << to_string(config.error());
  return config.value_or(Config{});
}

// Returns the reason of the refusal; "accepted" if there is none.
std::string refusal(const std::string& text) {
  const auto config = parse_config(text, "file");
  if (config) return "accepted";
  EXPECT_EQ(config.error().code, EINVAL);
  return config.error().reason;
}

// Returns a configuration whose line 3 is this one.
std::string with(const std::string& line) {
  return kRequired + line + "\n";
}

TEST(Config, TheRequiredKeysAreEnough) {
  const Config config = parsed(kRequired);

  EXPECT_EQ(to_string(config.settings.address), "192.0.2.1");
  EXPECT_EQ(config.settings.interfaces, std::vector<std::string>{"eth0"});
}

TEST(Config, DefaultsAreThoseOfTheManual) {
  const Config config = parsed(kRequired);

  EXPECT_EQ(config.socket, "/run/sockmid/sockmid.sock");
  EXPECT_EQ(config.identity, "/etc/sockmi/host");
  EXPECT_EQ(config.state, "/var/lib/sockmi");
  EXPECT_EQ(to_string(config.discovery.group), "239.255.77.77:7077");
  EXPECT_EQ(config.discovery.timeout, 500ms);
  EXPECT_EQ(config.discovery.preference, cluster::Preference::first);
  EXPECT_EQ(config.settings.control_port, 7078);
  EXPECT_EQ(config.maxima.bound, 1024u);
  EXPECT_EQ(config.maxima.listening, 1024u);
  EXPECT_EQ(config.maxima.connected, 65536u);
  EXPECT_EQ(config.settings.wait, 30s);
  EXPECT_TRUE(config.settings.require_importer);
  EXPECT_EQ(config.settings.freeze_timeout, 5s);
  EXPECT_FALSE(config.settings.believe_holders);
  EXPECT_EQ(config.settings.linger, 60s);
  EXPECT_FALSE(config.settings.testing);
}

TEST(Config, AFileWithoutAnAddressIsRefused) {
  EXPECT_EQ(refusal("interfaces = ['eth0']\n"), "file: missing key 'address'");
}

TEST(Config, AFileWithoutInterfacesIsRefused) {
  for (const char* interfaces : {"", "interfaces = []\n"})
    EXPECT_THAT(refusal(std::string("address = '192.0.2.1'\n") + interfaces),
                StartsWith("file: missing key 'interfaces'"));
}

// What a key holds after it has been read.
struct Accepted {
  const char* line;
  std::function<bool(const Config&)> holds;
};
const Accepted kAccepted[] = {
    {"socket = '/s'",
     [](const Config& c) {
       return c.socket == "/s";
     }},
    {"identity = '/i'",
     [](const Config& c) {
       return c.identity == "/i";
     }},
    {"state = '/d'",
     [](const Config& c) {
       return c.state == "/d";
     }},
    {"testing = true",
     [](const Config& c) {
       return c.settings.testing;
     }},
    {"discovery.group = '[ff02::77]:9'",
     [](const Config& c) {
       return to_string(c.discovery.group) == "[ff02::77]:9";
     }},
    {"discovery.hosts = ['192.0.2.2:9', '192.0.2.3:9']",
     [](const Config& c) {
       return c.discovery.hosts.size() == 2;
     }},
    {"discovery.preference = 'first'",
     [](const Config& c) {
       return c.discovery.preference == cluster::Preference::first;
     }},
    {"discovery.preference = 'ready-first'",
     [](const Config& c) {
       return c.discovery.preference == cluster::Preference::ready_first;
     }},
    {"discovery.preference = 'least-loaded'",
     [](const Config& c) {
       return c.discovery.preference == cluster::Preference::least_loaded;
     }},
    {"import.require_importer = false",
     [](const Config& c) {
       return !c.settings.require_importer;
     }},
    {"takeover.addresses = ['192.0.2.50', 'fd00::/64']",
     [](const Config& c) {
       return c.settings.takeover.size() == 2 && c.settings.takeover[1].prefix == 64;
     }},
    {"steer.believe_holders = true",
     [](const Config& c) {
       return c.settings.believe_holders;
     }},
};

TEST(Config, EachKeyIsRead) {
  for (const auto& [line, holds] : kAccepted)
    EXPECT_TRUE(holds(parsed(with(line)))) << line;
}

struct Number {
  const char* key;
  std::int64_t least, most;
  std::function<std::int64_t(const Config&)> read;
};
const Number kNumbers[] = {
    {"discovery.timeout_ms", 10, 60'000,
     [](const Config& c) {
       return c.discovery.timeout.count();
     }},
    {"control.port", 1, 65'535,
     [](const Config& c) {
       return c.settings.control_port;
     }},
    {"import.max_bound", 0, 1'048'576,
     [](const Config& c) {
       return c.maxima.bound;
     }},
    {"import.max_listening", 0, 1'048'576,
     [](const Config& c) {
       return c.maxima.listening;
     }},
    {"import.max_connected", 0, 16'777'216,
     [](const Config& c) {
       return c.maxima.connected;
     }},
    {"import.wait_ms", 10, 86'400'000,
     [](const Config& c) {
       return c.settings.wait.count();
     }},
    {"steer.freeze_timeout_ms", 1500, 60'000,
     [](const Config& c) {
       return c.settings.freeze_timeout.count();
     }},
    {"steer.linger_ms", 0, 3'600'000,
     [](const Config& c) {
       return c.settings.linger.count();
     }},
};

TEST(Config, ANumberAtItsLimitsIsAccepted) {
  for (const auto& [key, least, most, read] : kNumbers)
    for (const auto value : {least, most})
      EXPECT_EQ(read(parsed(with(fmt::format("{} = {}", key, value)))), value) << key;
}

TEST(Config, ANumberBeyondItsLimitsIsRefused) {
  for (const auto& [key, least, most, read] : kNumbers)
    for (const auto value : {least - 1, most + 1, INT64_MIN, INT64_MAX})
      EXPECT_EQ(refusal(with(fmt::format("{} = {}", key, value))),
                fmt::format("file: line 3: {}: expected {} to {}", key, least, most));
}

TEST(Config, ANumberThatIsNoIntegerIsRefused) {
  for (const auto& each : kNumbers)
    for (const char* value : {"1500.0", "'1500'", "true", "[1500]", "nan", "{}", "1979-05-27"})
      EXPECT_EQ(refusal(with(fmt::format("{} = {}", each.key, value))),
                fmt::format("file: line 3: {}: expected a number", each.key));
}

TEST(Config, ATextOfAnotherTypeIsRefused) {
  for (const char* key : {"socket", "identity", "state", "discovery.group", "discovery.preference"})
    for (const char* value : {"7", "true", "['x']", "{}", "{x = 1}"})
      EXPECT_EQ(refusal(with(fmt::format("{} = {}", key, value))),
                fmt::format("file: line 3: {}: expected a string", key));
}

TEST(Config, ABooleanOfAnotherTypeIsRefused) {
  for (const char* key : {"testing", "import.require_importer", "steer.believe_holders"})
    for (const char* value : {"1", "'true'", "[]", "{}"})
      EXPECT_EQ(refusal(with(fmt::format("{} = {}", key, value))),
                fmt::format("file: line 3: {}: expected a true or false", key));
}

TEST(Config, AListOfAnotherTypeIsRefused) {
  for (const char* key : {"discovery.hosts", "takeover.addresses", "service.web.export",
                          "service.web.import", "service.web.listen"})
    for (const char* value : {"7", "'x'", "[7]", "['192.0.2.1:1', 7]", "[['x']]", "{}"})
      EXPECT_THAT(refusal(with(fmt::format("{} = {}", key, value))),
                  StartsWith(fmt::format("file: line 3: {}: ", key)))
          << value;
}

TEST(Config, AWrongAddressIsRefused) {
  for (const char* line :
       {"discovery.group = 'x'", "discovery.group = '192.0.2.1'",
        "discovery.group = '192.0.2.1:65536'", "discovery.hosts = ['192.0.2.1:-1']",
        "discovery.hosts = ['192.0.2.1:1', ':1']", "takeover.addresses = ['192.0.2.0/33']",
        "takeover.addresses = ['fd00::/129']", "takeover.addresses = ['192.0.2.1/']",
        "service.web.listen = ['192.0.2.1']"})
    EXPECT_THAT(refusal(with(line)), HasSubstr("line 3: ")) << line;
}

TEST(Config, AnAddressWithAZeroByteIsRefused) {
  EXPECT_THAT(refusal("address = \"192.0.2.1\\u0000x\"\ninterfaces = ['eth0']\n"),
              StartsWith("file: line 1: address: invalid IP address"));
}

TEST(Config, TheWildcardIsNoAddressOfAHost) {
  for (const char* wildcard : {"0.0.0.0", "::"})
    EXPECT_EQ(refusal(fmt::format("address = '{}'\ninterfaces = ['eth0']\n", wildcard)),
              fmt::format("file: line 1: address: expected one address, not '{}'", wildcard));
}

TEST(Config, ARangeForTakeoversIsAnAddressWithoutAPort) {
  for (const char* range : {"", "192.0.2.1:80"})
    EXPECT_THAT(refusal(with(fmt::format("takeover.addresses = ['{}']", range))),
                HasSubstr("line 3: takeover.addresses: invalid address range"));
}

TEST(Config, APathThatIsEmptyOrHasAZeroByteIsRefused) {
  for (const char* key : {"socket", "identity", "state"})
    for (const char* path : {"", "/run/a\\u0000b"})
      EXPECT_EQ(refusal(with(fmt::format("{} = \"{}\"", key, path))),
                fmt::format("file: line 3: {}: expected a path", key));
}

TEST(Config, AnInterfaceHasANameThatTheKernelAccepts) {
  const auto of = [](const std::string& name) {
    return "address = '192.0.2.1'\ninterfaces = [\"" + name + "\"]\n";
  };

  EXPECT_EQ(refusal(of(std::string(15, 'x'))), "accepted");
  for (const std::string& name : {std::string(), std::string(16, 'x'), std::string("a b"),
                                  std::string("a/b"), std::string("a:b"), std::string("a\\u0000")})
    EXPECT_THAT(refusal(of(name)), StartsWith("file: line 2: interfaces: invalid interface"));
}

TEST(Config, AnUnknownPreferenceIsRefused) {
  EXPECT_EQ(refusal(with("discovery.preference = 'best'")),
            "file: line 3: discovery.preference: expected first, ready-first or least-loaded");
}

TEST(Config, AnUnknownKeyIsRefused) {
  for (const char* line :
       {"adress = 'x'", "control.ports = 1", "import = 1", "[[import]]", "import.max_bound.x = 1"})
    EXPECT_THAT(refusal(with(line)), HasSubstr("line 3: ")) << line;
}

TEST(Config, AnUnknownTableIsRefused) {
  for (const char* text : {"[imports]\n", "[imports]\nmax_bound = 1\n", "imports = {}\n"})
    EXPECT_EQ(refusal(kRequired + text), "file: line 3: imports: unknown key") << text;
}

TEST(Config, AFormerKeyIsRefusedWithItsNewName) {
  for (const auto& [former, now] :
       std::map<std::string, std::string>{{"negotiation.group", "discovery.group"},
                                          {"negotiation.peers", "discovery.hosts"},
                                          {"negotiation.timeout_ms", "discovery.timeout_ms"},
                                          {"negotiation.preference", "discovery.preference"},
                                          {"transfer.port", "control.port"}})
    EXPECT_EQ(refusal(with(former + " = 1")),
              fmt::format("file: line 3: {}: unknown key; its name is {} now", former, now));
}

TEST(Config, AFormerKeyInATableIsRefusedAtItsOwnLine) {
  EXPECT_EQ(refusal(kRequired + "[transfer]\n\nport = 1\n"),
            "file: line 5: transfer.port: unknown key; its name is control.port now");
}

TEST(Config, AKeyOrTableThatOccursTwiceIsRefused) {
  for (const char* text : {"socket = '/a'\nsocket = '/b'\n", "[import]\n[import]\n",
                           "[service.web]\n[service.web]\n", "import.max_bound = 1\n[import]\n"})
    EXPECT_THAT(refusal(kRequired + text), StartsWith("file:4: ")) << text;
}

TEST(Config, WithoutServicesThereIsTheDefaultOne) {
  for (const char* services : {"", "[service]\n"}) {
    const Config config = parsed(kRequired + services);
    EXPECT_TRUE(config.policy.knows("default")) << services;
  }
}

TEST(Config, AServiceReplacesTheDefaultOne) {
  const Config config = parsed(with("[service.web]"));

  EXPECT_TRUE(config.policy.knows("web"));
  EXPECT_FALSE(config.policy.knows("default"));
}

TEST(Config, TheUsersOfAServiceAreRead) {
  const daemon::Policy policy =
      parsed(kRequired + "[service.web]\nexport = ['out']\nimport = ['in']\n").policy;
  const User out{1000, "out"}, in{1001, "in"};

  EXPECT_TRUE(policy.may_export("web", out));
  EXPECT_FALSE(policy.may_export("web", in));
  EXPECT_TRUE(policy.may_import("web", in));
  EXPECT_FALSE(policy.may_import("web", out));
}

TEST(Config, TheAddressesOfAServiceAreRead) {
  const Config config = parsed(with("service.web.listen = ['192.0.2.50:443']"));
  const User user{1000, "user"};

  EXPECT_TRUE(config.policy.may_listen("web", user, *SocketAddress::parse("192.0.2.50:443")));
  EXPECT_FALSE(config.policy.may_listen("web", user, *SocketAddress::parse("192.0.2.50:444")));
}

TEST(Config, AnUnknownKeyOfAServiceIsRefusedAtItsLine) {
  EXPECT_EQ(refusal(kRequired + "[service.web]\n\nexports = []\n"),
            "file: line 5: service.web.exports: unknown key");
}

TEST(Config, ServicesThatAreNoTablesAreRefused) {
  EXPECT_EQ(refusal(with("service = 'web'")),
            "file: line 3: service: expected tables service.NAME");
  EXPECT_EQ(refusal(with("service.web = 'x'")), "file: line 3: service.web: expected a table");
}

TEST(Config, AFileThatIsNotTomlIsRefusedAtItsLine) {
  for (const std::string& line :
       {std::string("no toml at all"), std::string("x ="), std::string("socket = '\xff'"),
        std::string("socket = '\0'", 12), std::string("socket = '"), std::string("\x1b[31m = 1")})
    EXPECT_THAT(refusal(with(line)), StartsWith("file:3: ")) << line;
}

TEST(Config, DeepValuesAreRefused) {
  const std::string deep(30'000, '[');

  EXPECT_THAT(refusal(with("interfaces2 = " + deep)), StartsWith("file:3: "));
}

// Returns a key for tables in tables, with all the dots that a file may have.
std::string deepest_key() {
  std::string key = "a";
  for (auto dots = std::ranges::count(kRequired, '.'); dots < 8192; ++dots)
    key += ".a";
  return key;
}

TEST(Config, DeepTablesAreRefusedAtTheirLine) {
  EXPECT_EQ(refusal(with(deepest_key() + " = 1")), "file: line 3: a: unknown key");
}

TEST(Config, TablesThatAreTooDeepAreRefused) {
  for (const char* end : {"", " = 1", " = 1\n!"})
    EXPECT_EQ(refusal(with(deepest_key() + ".a" + end)), "file: more than 8192 dots");
}

class ConfigFileTest : public testing::Test {
 protected:
  std::string write(const std::string& text) {
    const auto path = folder_.path / "sockmid.toml";
    std::ofstream(path) << text;
    return path;
  }

  const test::TemporaryFolder folder_;
};

TEST_F(ConfigFileTest, AFileIsRead) {
  EXPECT_TRUE(read_config(write(kRequired)));
}

TEST_F(ConfigFileTest, AMissingFileIsNamed) {
  const auto config = read_config(folder_.path / "nothing");

  EXPECT_EQ(config.error().code, ENOENT);
  EXPECT_THAT(config.error().reason, HasSubstr((folder_.path / "nothing").string()));
}

TEST_F(ConfigFileTest, AFolderIsRefused) {
  EXPECT_EQ(read_config(folder_.path).error().code, EISDIR);
}

TEST_F(ConfigFileTest, AFileOfTheLargestSizeIsRead) {
  std::string text = kRequired + "#";
  text.resize(65'535, 'x');

  EXPECT_TRUE(read_config(write(text + "\n")));
}

TEST_F(ConfigFileTest, AFileThatIsTooLargeIsRefused) {
  std::string text = kRequired + "#";
  text.resize(65'536, 'x');

  EXPECT_THAT(read_config(write(text + "\n")).error().reason, HasSubstr("larger than 65536 bytes"));
}

TEST_F(ConfigFileTest, AFileWithoutAnEndIsRefused) {
  EXPECT_THAT(read_config("/dev/zero").error().reason, HasSubstr("larger than 65536 bytes"));
}

}  // namespace
}  // namespace sockmi::sockmid
