#include "migration/find_host.h"

#include <algorithm>

#include "base/fault.h"
#include "context/async_event.h"
#include "migration/path_check.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kPathTimeout{3000};

bool is_ours(const Services& services, const ExportedEndpoint& one) {
  return one.endpoint.home == services.settings.host;
}

asio::awaitable<void> ask_paths(const Services& services, cluster::SelectedHost importer,
                                std::vector<ExportedEndpoint*> those) {
  if (those.empty()) co_return;
  std::vector<wire::PathRequirements> requirements;
  requirements.reserve(those.size());
  steer::KernelQueries before;
  for (const ExportedEndpoint* one : those) {
    requirements.push_back(
        path_requirements(before, one->tuple, one->wire, is_ours(services, *one)));
  }
  auto reply = co_await services.control->call(importer.host, importer.control_address,
                                               wire::pack_path_queries(requirements), kPathTimeout);
  auto verdicts = wire::verdicts_of(reply, those.size());
  if (!verdicts) {
    for (ExportedEndpoint* one : those)
      one->result = std::unexpected(verdicts.error());
    co_return;
  }
  steer::KernelQueries now;  // The reply may have changed the known MTU.
  for (std::size_t i = 0; i < those.size(); ++i) {
    ExportedEndpoint& one = *those[i];
    one.result = std::move((*verdicts)[i]);
    if (one.result && is_ours(services, one))
      one.result = is_wide_enough(now, importer.address_for(one.tuple.local.ip), one.wire.largest);
  }
}

}  // namespace

asio::awaitable<Result<cluster::SelectedHost>> find_host(const Services& services,
                                                         std::vector<ExportedEndpoint*> those,
                                                         wire::MigrationId id, std::size_t count,
                                                         IpAddress target) {
  CO_TRY(fault::point("find_host"));
  const ExportedEndpoint& first = *those.front();
  std::size_t size = 0;
  for (const ExportedEndpoint* one : those)
    size += one->endpoint.tls.size() + one->endpoint.payload.size();
  cluster::Offer offer{.id = id,
                       .service = first.endpoint.service,
                       .owner = first.endpoint.owner,
                       .state = first.endpoint.state,
                       .tuple = first.tuple,
                       .home = first.tuple.local.ip.unmapped(),
                       .size = size,
                       .target = target,
                       .count = static_cast<std::uint32_t>(count),
                       .unclaimed = first.unclaimed};
  co_return co_await services.discovery->find(std::move(offer));
}

asio::awaitable<bool> NoticePatience::should_ask_again(std::vector<ExportedEndpoint*>& those) {
  std::erase_if(those, [](const ExportedEndpoint* one) {
    return one->result || one->result.error().code != EBUSY;
  });
  if (those.empty() || Clock::now() >= give_up_) co_return false;
  co_await sleep_for(pauses_.next());
  co_return true;
}

asio::awaitable<void> try_paths(const Services& services, cluster::SelectedHost importer,
                                std::vector<ExportedEndpoint*> those, Clock::time_point decide_by) {
  std::erase_if(those, [](const ExportedEndpoint* one) { return one->passive(); });
  NoticePatience patience(decide_by);
  do {
    co_await ask_paths(services, importer, those);
  } while (co_await patience.should_ask_again(those));
}

}  // namespace sockmi::daemon
