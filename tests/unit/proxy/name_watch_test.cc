#include "proxy/name_watch.h"

#include <future>

#include <gtest/gtest.h>

namespace sockmi::proxy {
namespace {

Plan plan_of(const std::string& address) {
  const auto config = parse_config(
      "[listener.in]\nlisten = ['127.0.0.1:1']\nservice = 'app'\n"
      "[service.app]\nresolve_ms = 100\n[service.app.backend.one]\naddress = '" +
          address + "'\n",
      "f");
  return *make_plan(*config, {}, [] {});
}

TEST(NameWatch, ALookUpThatHangsDelaysNoEnd) {
  std::promise<void> begun;
  std::promise<void> release;
  const auto released = release.get_future().share();
  {
    NameWatch watch([&begun, released](const std::string&) -> Result<std::vector<IpAddress>> {
      begun.set_value();
      released.wait();
      return fail(EHOSTUNREACH, "late");
    });
    watch.use(plan_of("app.example:80"));
    begun.get_future().wait();
  }
  release.set_value();
}

TEST(NameWatch, AnExceptionIsAFailedLookUp) {
  const Plan plan = plan_of("app.example:80");
  const auto& backend = plan.services.at("app")->backends.front();
  const auto calls = std::make_shared<std::atomic<int>>(0);
  const auto again = std::make_shared<std::promise<void>>();
  NameWatch watch([=](const std::string& host) -> Result<std::vector<IpAddress>> {
    EXPECT_EQ(host, "app.example");
    if (++*calls == 1) throw std::bad_alloc();
    if (*calls == 3) again->set_value();  // what the second one has found is known
    return std::vector{*IpAddress::parse("10.0.0.1")};
  });

  watch.use(plan);
  again->get_future().wait();

  EXPECT_EQ(to_string(*backend->address()), "10.0.0.1:80");
}

TEST(NameWatch, AnAddressIsNotLookedUp) {
  NameWatch watch([](const std::string&) -> Result<std::vector<IpAddress>> { std::abort(); });

  const Plan plan = plan_of("127.0.0.1:80");
  watch.use(plan);

  EXPECT_TRUE(plan.services.at("app")->backends.front()->address());
}

}  // namespace
}  // namespace sockmi::proxy
