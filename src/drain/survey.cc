#include "drain/survey.h"

#include <openssl/rand.h>
#include <sockmi/sockmi.h>

namespace sockmi::daemon {
namespace {

// Without a peer: an offer of one of many connections.
cluster::Offer offer_for(const Services& services, const std::string& service, const User& user) {
  const IpAddress& own = services.settings.address;
  cluster::Offer offer{.service = service,
                       .owner = user,
                       .state = SOCKMI_CONNECTED,
                       .tuple = {{own, services.settings.control_port}, {}},
                       .home = own};
  RAND_bytes(offer.id.data(), static_cast<int>(offer.id.size()));
  return offer;
}

}  // namespace

asio::awaitable<void> survey_hosts(const Services& services, const ExportRequests& requests,
                                   std::set<std::string> names, std::vector<std::string> only,
                                   Spreads& spreads) {
  for (const std::string& name : names) {
    std::set<User> users;
    for (const ExportRequests::Application& each : requests.applications())
      if (each.service == name) users.insert(each.user);
    if (users.empty()) users.insert(User{0, "root"});
    std::map<std::string, cluster::HostAnswer> best;
    for (const User& user : users) {
      const auto answers = co_await services.discovery->survey(offer_for(services, name, user));
      for (const cluster::HostAnswer& answer : answers) {
        const auto [known, is_new] = best.try_emplace(answer.host.host, answer);
        if (!is_new && answer.acceptable) known->second = answer;
      }
    }
    std::vector<cluster::HostAnswer> answers;
    for (auto& [host, answer] : best)
      answers.push_back(std::move(answer));
    spreads[name].update(answers, only);
  }
}

}  // namespace sockmi::daemon
