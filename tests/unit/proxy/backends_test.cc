#include "proxy/backends.h"

#include <gtest/gtest.h>

namespace sockmi::proxy {
namespace {

Backends make_backends(std::initializer_list<const char*> names, std::uint32_t most = 1000) {
  Backends backends;
  for (const char* name : names)
    backends.push_back(
        std::make_shared<Backend>("app", name, BackendConfig{.max_connections = most}));
  return backends;
}

TEST(Backends, ClientsGetTheOneWithTheFewestConnections) {
  const auto backends = make_backends({"a", "b"});
  const BackendSlot first = choose(backends, {}, nullptr);
  const BackendSlot second = choose(backends, {}, nullptr);

  EXPECT_EQ(first->name, "a");
  EXPECT_EQ(second->name, "b");
  EXPECT_EQ(backends[0]->connections(), 1u);
  { const BackendSlot third = choose(backends, {}, nullptr); }
  EXPECT_EQ(backends[0]->connections(), 1u);
}

TEST(Backends, FullAndTriedOnesAreLeftOut) {
  const auto backends = make_backends({"a", "b"}, 1);
  const BackendSlot first = choose(backends, {}, nullptr);

  EXPECT_EQ(choose(backends, {}, nullptr)->name, "b");
  EXPECT_FALSE(choose(backends, {backends[1].get()}, nullptr));
}

TEST(Backends, FailedOnesAreTheLastChoice) {
  const auto backends = make_backends({"a", "b"});

  EXPECT_TRUE(backends[0]->set_failed(true));
  EXPECT_FALSE(backends[0]->set_failed(true));
  EXPECT_EQ(choose(backends, {}, nullptr)->name, "b");
  EXPECT_EQ(choose(backends, {backends[1].get()}, nullptr)->name, "a");
  EXPECT_TRUE(backends[0]->set_failed(false));
  EXPECT_EQ(choose(backends, {}, nullptr)->name, "a");
}

TEST(Backends, OneWithANameKeepsItsAddressAsLongAsItIsFound) {
  using Lookup = Backend::Lookup;
  Backend backend("app", "a", {.address = *BackendAddress::parse("app.example:80")});
  const IpAddress one = *IpAddress::parse("10.0.0.1"), two = *IpAddress::parse("10.0.0.2");
  EXPECT_EQ(backend.address().error().code, EAGAIN);

  EXPECT_EQ(backend.note_lookup(fail(EHOSTUNREACH, "unknown")), Lookup::Failed);
  EXPECT_EQ(backend.address().error().code, EHOSTUNREACH);
  EXPECT_EQ(backend.note_lookup(std::vector{one, two}), Lookup::Changed);
  EXPECT_EQ(backend.note_lookup(std::vector{two, one}), Lookup::Same);
  EXPECT_EQ(to_string(*backend.address()), "10.0.0.1:80");
  EXPECT_EQ(backend.note_lookup(fail(EHOSTUNREACH, "unknown")), Lookup::Failed);
  EXPECT_EQ(backend.note_lookup(fail(EHOSTUNREACH, "unknown")), Lookup::Same);
  EXPECT_EQ(to_string(*backend.address()), "10.0.0.1:80");
  EXPECT_EQ(backend.note_lookup(std::vector{two}), Lookup::Changed);
  EXPECT_EQ(to_string(*backend.address()), "10.0.0.2:80");
}

TEST(Backends, AnAddressIsANameOnlyIfItCannotBeAnAddress) {
  EXPECT_TRUE(BackendAddress::parse("localhost:80")->is_name());
  EXPECT_FALSE(BackendAddress::parse("10.0.0.1:80")->is_name());
  EXPECT_FALSE(BackendAddress::parse("[::1]:80")->is_name());
  EXPECT_FALSE(BackendAddress::parse("unix:/run/a:80")->is_name());
  for (const char* wrong : {"10.0.0.300:80", "app.example", "app.example:0", "app.example:x",
                            "app.example:80x", "a b:80", "systemd:app", ":80"})
    EXPECT_FALSE(BackendAddress::parse(wrong)) << wrong;
}

TEST(Backends, ChecksInARowMakeOneDownAndUp) {
  const auto backends = make_backends({"a"});
  const CheckConfig checks{.rise = 2, .fall = 3};
  Backend& backend = *backends[0];
  const auto notes = [&](std::initializer_list<bool> all) {
    std::vector<bool> changes;
    for (const bool good : all)
      changes.push_back(backend.note_check(good, checks));
    return changes;
  };

  EXPECT_EQ(notes({true, false, false, true, false, false, false}),
            (std::vector{false, false, false, false, false, false, true}));
  EXPECT_TRUE(backend.is_down());
  EXPECT_EQ(notes({false, true, false, true, true}),
            (std::vector{false, false, false, false, true}));
  EXPECT_FALSE(backend.is_down());
}

TEST(Backends, OnesThatAreDownComeAfterThoseThatHaveFailed) {
  const auto backends = make_backends({"a", "b", "c"});
  backends[0]->note_check(false, {.fall = 1});
  backends[1]->set_failed(true);

  EXPECT_EQ(choose(backends, {}, nullptr)->name, "c");
  EXPECT_EQ(choose(backends, {backends[2].get()}, nullptr)->name, "b");
  EXPECT_EQ(choose(backends, {backends[1].get(), backends[2].get()}, nullptr)->name, "a");
  backends[0]->forget_checks();
  EXPECT_EQ(choose(backends, {}, nullptr)->name, "a");
}

TEST(Backends, HashedClientsStayWhenAnotherBackendGoes) {
  const auto three = make_backends({"a", "b", "c"});
  const auto two = make_backends({"a", "c"});
  std::map<std::string, int> counts;
  for (int i = 0; i < 300; ++i) {
    const auto client =
        *IpAddress::parse("10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250));
    const std::string name = choose(three, {}, &client)->name;
    EXPECT_EQ(choose(three, {}, &client)->name, name);
    if (name != "b") {
      EXPECT_EQ(choose(two, {}, &client)->name, name);
    }
    ++counts[name];
  }

  for (const char* name : {"a", "b", "c"})
    EXPECT_GT(counts[name], 50) << name;
}

}  // namespace
}  // namespace sockmi::proxy
