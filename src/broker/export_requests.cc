#include "broker/export_requests.h"

namespace sockmi::broker {

ExportRequests::Holder ExportRequests::hold(const std::string& service, std::function<void(const ExportWish&)> ask) {
  state_->holders.push_front({service, std::move(ask)});
  return {nullptr, [state = state_, it = state_->holders.begin()](void*) {
            for (auto question = state->questions.begin(); question != state->questions.end();) {
              const auto next = std::next(question);
              if (question->second.holder == &*it) settle(*state, question);
              question = next;
            }
            state->holders.erase(it);
          }};
}

std::set<std::string> ExportRequests::services() const {
  std::set<std::string> out;
  for (const Asked& holder : state_->holders) out.insert(holder.service);
  return out;
}

void ExportRequests::settle(State& state, std::map<std::uint64_t, Question>::iterator question) {
  Open& open = *question->second.open;
  state.questions.erase(question);
  if (--open.outstanding == 0) open.settled.set();
}

asio::awaitable<ExportOutcome> ExportRequests::ask(std::string service, ExportWish wish, std::chrono::milliseconds timeout) {
  Open open{{}, 0, Event(executor_)};
  const std::shared_ptr<void> forget(nullptr, [state = state_, &open](void*) {
    std::erase_if(state->questions, [&](const auto& entry) { return entry.second.open == &open; });
  });
  for (const Asked& holder : state_->holders) {
    if (holder.service != service) continue;
    wish.request = ++last_;
    state_->questions.emplace(wish.request, Question{&open, &holder});
    ++open.outcome.applications;
    ++open.outstanding;
    holder.ask(wish);
  }
  if (open.outstanding > 0) co_await open.settled.wait(std::chrono::steady_clock::now() + timeout);
  co_return open.outcome;
}

Result<> ExportRequests::done(std::uint64_t request, unsigned exported, unsigned failed) {
  const auto it = state_->questions.find(request);
  if (it == state_->questions.end()) return fail(ENOENT, "no request {} waits for an answer", request);
  ExportOutcome& outcome = it->second.open->outcome;
  outcome.exported += exported;
  outcome.failed += failed;
  ++outcome.answered;
  settle(*state_, it);
  return {};
}

}  // namespace sockmi::broker
