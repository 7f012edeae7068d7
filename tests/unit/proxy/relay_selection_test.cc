#include "proxy/relay_selection.h"

#include <gtest/gtest.h>

#include "proxy/relay_service.h"

namespace sockmi::proxy {
namespace {

TEST(AddressMatch, NothingFitsAll) {
  const auto all = AddressMatch::from({});

  EXPECT_TRUE(all.fits_all());
  EXPECT_TRUE(all.fits(*SocketAddress::parse("10.0.0.1:80")));
  EXPECT_TRUE(all.fits({}));
}

TEST(AddressMatch, AddressPrefixAndPortCount) {
  sockmi_match match{};
  match.af = AF_INET;
  match.addr[0] = 10;
  match.prefix = 8;
  match.port = 80;
  const auto some = AddressMatch::from(match);

  EXPECT_FALSE(some.fits_all());
  EXPECT_TRUE(some.fits(*SocketAddress::parse("10.1.2.3:80")));
  EXPECT_FALSE(some.fits(*SocketAddress::parse("10.1.2.3:81")));
  EXPECT_FALSE(some.fits(*SocketAddress::parse("11.1.2.3:80")));
  EXPECT_FALSE(some.fits(*SocketAddress::parse("[fd00::1]:80")));
  EXPECT_FALSE(some.fits({}));
}

TEST(AddressMatch, APortAloneFitsEachFamily) {
  sockmi_match match{};
  match.port = 80;
  const auto some = AddressMatch::from(match);

  EXPECT_TRUE(some.fits(*SocketAddress::parse("10.1.2.3:80")));
  EXPECT_TRUE(some.fits(*SocketAddress::parse("[fd00::1]:80")));
  EXPECT_FALSE(some.fits(*SocketAddress::parse("[fd00::1]:81")));
}

TEST(RelayService, APlanHasOneForEachListenerAndServiceThatItCanUse) {
  Plan plan;
  for (const char* name : {"app", "web", "unused"}) {
    auto service = std::make_shared<ServicePlan>();
    service->name = name;
    plan.services[name] = service;
  }
  for (const char* name : {"in", "tls"}) {
    auto listener = std::make_shared<ListenerPlan>();
    listener->name = name;
    listener->service = plan.services["app"];
    plan.listeners[name] = listener;
  }
  auto routed = std::make_shared<ListenerPlan>(*plan.listeners["tls"]);
  routed->config.routes = {{"one", {{"a.example"}, "web"}}, {"two", {{"b.example"}, "app"}}};
  plan.listeners["tls"] = routed;

  std::vector<std::string> names;
  for (const RelayService& service : relay_services(plan))
    names.push_back(service.name());

  EXPECT_EQ(names, std::vector<std::string>({"in/app", "tls/app", "tls/web"}));
}

}  // namespace
}  // namespace sockmi::proxy
