#include "applications/export_requests.h"

#include <algorithm>

#include <openssl/rand.h>

namespace sockmi::daemon {
namespace {

// Returns a number that cannot be guessed.
std::uint64_t random_number() {
  std::uint64_t number = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&number), sizeof number);
  return number;
}

}  // namespace

ExportRequests::Holder ExportRequests::hold(const std::string& service, const User& user,
                                            std::function<void(const ExportRequest&)> ask,
                                            pid_t process) {
  state_->holders.push_front({service, user, std::move(ask), process});
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
  for (const Asked& holder : state_->holders)
    out.insert(holder.service);
  return out;
}

std::vector<ExportRequests::Application> ExportRequests::applications() const {
  std::vector<Application> out;
  for (const Asked& holder : state_->holders)
    out.push_back({holder.service, holder.user, holder.process});
  return out;
}

void ExportRequests::settle(State& state, std::map<std::uint64_t, Question>::iterator question) {
  const auto [open, holder, awaited, counted] = question->second;
  state.questions.erase(question);
  if (open && awaited && --open->outstanding == 0) open->settled.set();
}

// Ends a call of ask(). A late answer still shows that its application answers at all, so
// one such question per application is kept, the newest.
void ExportRequests::forget(State& state, const Open& open) {
  for (auto it = state.questions.begin(); it != state.questions.end();) {
    const Asked* holder = it->second.holder;
    const bool older =
        it->second.open == nullptr && std::ranges::any_of(state.questions, [&](const auto& each) {
          return each.second.open == &open && each.second.holder == holder;
        });
    it = older ? state.questions.erase(it) : std::next(it);
  }
  for (auto& [number, question] : state.questions) {
    if (question.open != &open) continue;
    question.open = nullptr;
    question.holder->unresponsive = true;
  }
}

asio::awaitable<ExportOutcome> ExportRequests::ask(std::string service, ExportRequest asked,
                                                   User asker, std::chrono::milliseconds timeout,
                                                   TrustIn trust) {
  Open open{{}, 0, Event(executor_)};
  const std::shared_ptr<void> forgotten(nullptr,
                                        [state = state_, &open](void*) { forget(*state, open); });
  for (Asked& holder : state_->holders) {
    if (holder.service != service || !(asker.is_root() || asker == holder.user)) continue;
    const Trust in_it = trust(holder.user);
    if (in_it == Trust::NotAsked) continue;
    do {
      asked.request = random_number();
    } while (state_->questions.contains(asked.request));
    state_->questions.emplace(
        asked.request, Question{&open, &holder, !holder.unresponsive, in_it == Trust::Counted});
    ++open.outcome.applications;
    open.outstanding += !holder.unresponsive;
    holder.ask(asked);
  }
  if (open.outstanding > 0) co_await open.settled.wait(std::chrono::steady_clock::now() + timeout);
  for (const auto& [number, question] : state_->questions) {
    if (question.open != &open) continue;
    auto& users = question.counted ? open.outcome.unanswered : open.outcome.in_doubt;
    users.push_back(question.holder->user.name);
  }
  co_return open.outcome;
}

Result<> ExportRequests::done(std::uint64_t request, const User& user, unsigned exported,
                              unsigned failed) {
  const auto it = state_->questions.find(request);
  if (it == state_->questions.end() || it->second.holder->user.uid != user.uid)
    return fail(ENOENT, "request {} does not wait for an answer of this client", request);
  it->second.holder->unresponsive = false;
  if (!it->second.open) {
    state_->questions.erase(it);
    return fail(ENOENT, "request {} is over", request);
  }
  ExportOutcome& outcome = it->second.open->outcome;
  if (it->second.counted) {
    outcome.exported += exported;
    outcome.failed += failed;
  } else if (exported > 0 || failed > 0) {
    outcome.in_doubt.push_back(user.name);
  }
  ++outcome.answered;
  settle(*state_, it);
  return {};
}

}  // namespace sockmi::daemon
