#include "broker/export_requests.h"

namespace sockmi::broker {

ExportRequests::Holder ExportRequests::hold(const std::string& service, std::function<void(const ExportWish&)> ask) {
  holders_->push_front({service, std::move(ask)});
  return {nullptr, [holders = holders_, it = holders_->begin()](void*) { holders->erase(it); }};
}

asio::awaitable<ExportOutcome> ExportRequests::ask(std::string service, ExportWish wish, std::chrono::milliseconds timeout) {
  Open open{{}, Event(executor_)};
  wish.request = ++last_;
  for (const Asked& holder : *holders_) {
    if (holder.service != service) continue;
    ++open.outcome.applications;
    holder.ask(wish);
  }
  if (open.outcome.applications > 0) {
    open_[wish.request] = &open;
    co_await open.answered.wait(std::chrono::steady_clock::now() + timeout);
    open_.erase(wish.request);
  }
  co_return open.outcome;
}

Result<> ExportRequests::done(std::uint64_t request, unsigned exported, unsigned failed) {
  const auto it = open_.find(request);
  if (it == open_.end()) return fail(ENOENT, "no request {} waits for an answer", request);
  ExportOutcome& outcome = it->second->outcome;
  outcome.exported += exported;
  outcome.failed += failed;
  if (++outcome.answered == outcome.applications) it->second->answered.set();
  return {};
}

}  // namespace sockmi::broker
