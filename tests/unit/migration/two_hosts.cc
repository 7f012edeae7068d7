#include "two_hosts.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <sstream>
#include <stdexcept>

#include <nlohmann/json.hpp>

#include "connections/journal.h"
#include "interposed.h"
#include "socket_state.h"
#include "tcp/states.h"
#include "wire/control_messages.h"
#include "wire/flatbuffer.h"

namespace sockmi::daemon {
namespace {

constexpr std::int64_t kForever = kNoTimer;
// An importer that is there has asked by then.
constexpr milliseconds kAskedBy{20'000};
// Longer than all time-outs, and longer than rules linger (host_process.cc).
constexpr milliseconds kLongEnough{120'000};

std::string half_of(const std::string& commit) {
  const Secret message = secret_of(commit);
  auto endpoints =
      wire::read_commit(*wire::read<wire::Message>(message).value()->request_as_Commit());
  endpoints->pop_back();
  const Secret half = wire::pack_commit(*endpoints);
  return {half.begin(), half.end()};
}

SocketAddress control_address_of(Network::Place place) {
  return {Network::address_of(place), 7078};
}

}  // namespace

TwoHosts::TwoHosts(Network& network, const Scenario& scenario)
    : network_(network),
      scenario_(scenario) {
  void* shared = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) throw std::runtime_error("mmap");
  now_ = new (shared) std::atomic<Nanoseconds>(1000 * 1000 * kMillisecond);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // for the crash guards
  for (const Place place : {Network::A, Network::B}) {
    const Place there = other(place);
    const auto name_of = [](Place each) {
      return each == Network::A ? "hostA" : "hostB";
    };
    hosts_[place].setup = {.name = name_of(place),
                           .control_address = control_address_of(place),
                           .other = name_of(there),
                           .other_control_address = control_address_of(there),
                           .folder = folder_.path / name_of(place)};
    std::filesystem::create_directory(hosts_[place].setup.folder);
    start(place);
  }
  for (int i = 0; i < scenario.connections; ++i) {
    if (scenario.listens) {
      auto [listener, local] = network.listen(i);
      connections_.push_back(
          {std::move(listener), {}, {}, to_string(FourTuple{local, {}}), {}, {}, i});
      continue;
    }
    auto [server, client] = network.connect(i);
    connections_.push_back({std::move(server), std::move(client), {}, {}, {}, {}, i});
    sockaddr_storage raw;
    socklen_t size = sizeof raw;
    Connection& made = connections_.back();
    ::getsockname(made.client.get(), reinterpret_cast<sockaddr*>(&raw), &size);
    made.tuple = to_string(FourTuple{{Network::server(i), 8443},
                                     SocketAddress::from(reinterpret_cast<sockaddr*>(&raw))});
    write(made, made.client, std::string(scenario.unread, 'u'));
    if (!eventually([&] { return queued(made.client.get(), SIOCOUTQ) == 0; }))
      throw std::runtime_error("the client's bytes do not arrive");
  }
  if (scenario.from == Network::A) return;
  tell(Network::A, order_to_export());
  pass_time(milliseconds(10'000));
  tell(Network::B, {.kind = Kind::Take});
  for (Connection& each : connections_) {
    if (!each.taken)
      throw std::runtime_error(
          fmt::format("{} does not leave its home: {}", each.tuple,
                      results_.empty() ? "no result" : std::strerror(results_.front())));
    each.server = std::move(each.taken);
  }
  moved_ = 0;
  results_.clear();
}

TwoHosts::~TwoHosts() {
  for (const Place place : {Network::A, Network::B})
    kill(place);
  for (const Connection& each : connections_)
    network_.route(each.number, Network::A);
  ::munmap(now_, 4096);
}

void TwoHosts::start(Place place) {
  Host& host = hosts_[place];
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    throw std::runtime_error("socketpair");
  host.link.reset(ends[0]);
  const unique_fd theirs(ends[1]);
  host.process = ::fork();
  if (host.process == 0) {
    constexpr int kLink = 3;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    network_.enter(place);
    ::dup2(theirs.get(), kLink);
    ::close_range(kLink + 1, ~0u, 0);
    run_host(host.setup, kLink, *now_);
  }
  ++host.life;
  tell(place, {.kind = Kind::Start, .data = scenario_.guarded ? "guard" : ""});
}

void TwoHosts::kill(Place place) {
  Host& host = hosts_[place];
  if (host.process < 0) return;
  ::kill(host.process, SIGKILL);
  int status;
  ::waitpid(host.process, &status, 0);
  const pid_t other_process = hosts_[other(place)].process;
  // The guard has done its work when it ends.
  for (pid_t ended = -1; scenario_.guarded && ended != 0;) {
    ended = ::waitpid(-1, &status, 0);
    if (ended != other_process) break;
    hosts_[other(place)].process = -1;
  }
  host.process = -1;
  host.link.reset();
  host.wakes_up = kForever;
}

bool TwoHosts::may_act(Place place, const std::string& name) {
  Host& host = hosts_[place];
  if (!counts_) return true;
  if (!crashes.empty() && crashes.front().host == place &&
      crashes.front().action == host.actions.size()) {
    // From the moment at which its journal says so, the endpoint may live there.
    thawed_ |= place != scenario_.from && commit_came_ &&
               std::find(host.actions.begin() + static_cast<std::ptrdiff_t>(*commit_came_),
                         host.actions.end(), "write journal") != host.actions.end();
    restart_ = {now() + crashes.front().pause.count() * kMillisecond, place};
    crashes.pop_front();
    disturbed_ = true;
    kill(place);
    return false;
  }
  host.actions.push_back(name);
  return true;
}

// Returns when the host has nothing to do, or has died.
void TwoHosts::tell(Place place, const Frame& order) {
  Host& host = hosts_[place];
  bool alive = send(host.link.get(), order);
  while (alive) {
    auto frame = receive(host.link.get());
    if (!frame) break;
    const auto go = [&](std::string answer = {}) {
      send(host.link.get(), {.kind = Kind::Go, .data = std::move(answer)});
    };
    switch (frame->kind) {
      case Kind::Action:
        alive = may_act(place, frame->name);
        if (alive) go();
        break;
      case Kind::Steer:
        alive = may_act(place, "steer " + frame->name);
        if (alive) go(steer(host.rules, frame->data));
        break;
      case Kind::Call:
        alive = may_act(place, "call " + frame->name);
        if (alive) send_message(place, *frame);
        break;
      case Kind::Answer:
        alive = may_act(place, "answer " + frame->name);
        if (alive) send_answer(*frame);
        break;
      case Kind::Exported: {
        std::istringstream words(frame->data);
        results_.assign(std::istream_iterator<int>(words), {});
        if (scenario_.listens) close_moved_listeners();
        break;
      }
      case Kind::Dumped: dumped_ = frame->data; break;
      case Kind::Taken:
        take(place, frame->data);
        go();
        break;
      default: host.wakes_up = static_cast<Nanoseconds>(frame->number); return;
    }
  }
  if (host.process < 0) return;  // killed by this test
  int status = 0;
  ::waitpid(host.process, &status, 0);
  host.process = -1;
  host.wakes_up = kForever;
  troubles_ += fmt::format("{} has died by itself, status {:#x}\n", host.setup.name, status);
}

// As applications do. From then on the address is not in use at the exporter.
void TwoHosts::close_moved_listeners() {
  for (Connection& each : connections_) {
    if (results_[static_cast<std::size_t>(each.number)] != 0) continue;
    if (state_of(each.server.get()) == tcp::kListen)
      troubles_ += each.tuple + ": listens on after it has moved\n";
    each.server.reset();
  }
}

void TwoHosts::send_message(Place from, const Frame& frame) {
  const std::size_t number = messages_.size();
  if (counts_) messages_.push_back(frame.name);
  Fate what = counts_ ? fate(number) : Fate::Arrives;
  disturbed_ |= what != Fate::Arrives;
  if (counts_ && is_too_early(frame.name)) what = Fate::IsLost;
  const std::uint64_t call = ++last_call_;
  calls_[call] = {from, hosts_[from].life, frame.number, what == Fate::AnswerIsLost};
  const auto later = [&](std::int64_t seconds) {
    deliveries_.push_back({.due = now() + seconds * 1000 * kMillisecond,
                           .to = other(from),
                           .frame = {Kind::Deliver, call, frame.name, frame.data}});
  };
  switch (what) {
    case Fate::IsLost: break;
    case Fate::IsLate: later(8); break;
    case Fate::ComesTwice: later(0), later(0); break;
    case Fate::ComesAgainLate: later(0), later(8); break;
    case Fate::IsHalved:
      half_ = call;
      later(0);
      deliveries_.back().frame.data = half_of(frame.data);
      break;
    default: later(0);
  }
  if (!counts_ || frame.name != "Prepare" || std::exchange(has_written_, true)) return;
  // The sockets are frozen now.
  for (Connection& each : connections_) {
    if (scenario_.listens) continue;
    const std::size_t before = queued(each.server.get(), SIOCINQ);
    write(each, each.client, "in freeze");
    (void)eventually([&] { return queued(each.server.get(), SIOCINQ) > before; });
    if (scenario_.written) write(each, each.server, "by another thread");
    if (scenario_.gives_up && !each.token->take()) troubles_ += "the token is lost too early\n";
  }
}

bool TwoHosts::is_too_early(const std::string& message) {
  if (!scenario_.asks || message != "Commit") return false;
  if (!commit_sent_) commit_sent_ = now();
  return now() < *commit_sent_ + kAskedBy.count() * kMillisecond &&
         std::ranges::find(messages_, "QueryOutcome") == messages_.end();
}

// Of a message that comes twice, the first answer counts.
void TwoHosts::send_answer(const Frame& frame) {
  const auto it = calls_.find(frame.number);
  if (it == calls_.end()) return;
  const Call call = it->second;
  calls_.erase(it);
  if (frame.number == half_)
    if (const auto verdicts = wire::read_verdicts(secret_of(frame.data), 1))
      verdict_on_half_ = verdicts->front() ? 0 : verdicts->front().error().code;
  if (!call.answer_is_lost)
    deliveries_.push_back({.due = now(),
                           .to = call.from,
                           .frame = {Kind::Reply, call.number, "", frame.data},
                           .life = call.life,
                           .is_outcome = frame.name == "QueryOutcome"});
}

void TwoHosts::deliver(Delivery delivery) {
  Host& host = hosts_[delivery.to];
  const Place sender = other(delivery.to);
  if (delivery.life != 0 && delivery.life != host.life) return;
  if ((delivery.frame.name == "Commit" || delivery.is_outcome) && !commit_came_)
    commit_came_ = host.actions.size();
  if (host.process >= 0) tell(delivery.to, delivery.frame);
  if (host.process >= 0 || delivery.frame.kind == Kind::Reply) return;
  const auto it = calls_.find(delivery.frame.number);
  if (it == calls_.end()) return;
  deliveries_.push_back({.due = now(),
                         .to = sender,
                         .frame = {Kind::Reply, it->second.number, std::to_string(ECONNRESET), ""},
                         .life = it->second.life});
  calls_.erase(it);
}

// Does the next thing. Returns false if nothing happens until `end`.
bool TwoHosts::step(Nanoseconds end) {
  const auto next = std::ranges::min_element(deliveries_, {}, &Delivery::due);
  if (next != deliveries_.end() && next->due <= now()) {
    Delivery delivery = std::move(*next);
    deliveries_.erase(next);
    deliver(std::move(delivery));
    return true;
  }
  if (restart_ && restart_->first <= now()) {
    start(std::exchange(restart_, std::nullopt)->second);
    restarted_ = now();
    for (const Place each : {Network::A, Network::B})
      if (hosts_[each].process >= 0) tell(each, {.kind = Kind::Greet});
    return true;
  }
  for (const Place place : {Network::A, Network::B})
    if (hosts_[place].process >= 0 && hosts_[place].wakes_up <= now()) {
      tell(place, {.kind = Kind::Tick});
      return true;
    }
  Nanoseconds soonest = next == deliveries_.end() ? kForever : next->due;
  if (restart_) soonest = std::min(soonest, restart_->first);
  for (const Host& host : hosts_) {
    soonest = std::min(soonest, host.wakes_up);
    for (const auto& [tuple, redirect] : host.rules.redirects)
      soonest = std::min(soonest, redirect.until);
    for (const auto& all : {host.rules.returning, host.rules.foreign, host.rules.blocked})
      for (const auto& [tuple, until] : all)
        soonest = std::min(soonest, until);
  }
  now_->store(std::max(now(), std::min(soonest, end)));
  expire_rules();
  return soonest <= end;
}

void TwoHosts::pass_time(milliseconds time) {
  const Nanoseconds end = now() + time.count() * kMillisecond;
  while (step(end)) {
  }
}

void TwoHosts::run() {
  counts_ = true;
  if (scenario_.token)
    for (Connection& each : connections_)
      each.token = *Token::make();
  if (*scenario_.fails) tell(other(scenario_.from), {.kind = Kind::Arm, .name = scenario_.fails});
  tell(scenario_.from, order_to_export());
  if (operator_comes > milliseconds(0)) {
    pass_time(operator_comes);
    decide_doubts();
  }
  pass_time(kLongEnough);
  counts_ = false;
  // A host that died late has to be back, and to recover.
  if (restart_ || now() - restarted_ < kLongEnough.count() * kMillisecond / 2)
    pass_time(kLongEnough);
}

void TwoHosts::decide_doubts() {
  tell(other(scenario_.from), {.kind = Kind::Dump});
  if (nlohmann::json::parse(*dumped_)["left"]["in doubt"] == 0) return;
  const auto journal = Journal::look(hosts_[scenario_.from].setup.folder).value();
  operator_said_ = journal.decisions().empty() ? "discard" : "commit";
  tell(other(scenario_.from), {.kind = Kind::Decide, .data = operator_said_});
}

Frame TwoHosts::order_to_export() const {
  Frame order{.kind = Kind::Export, .name = scenario_.grouped ? "group" : "", .data = {}};
  for (const Connection& each : connections_)
    order.data += fmt::format("{} {}\n", each.server.get(), each.token ? each.token->fd() : -1);
  return order;
}

void TwoHosts::take(Place place, const std::string& endpoints) {
  const unique_fd process(static_cast<int>(::syscall(SYS_pidfd_open, hosts_[place].process, 0)));
  std::istringstream words(endpoints);
  std::string tuple;
  const auto count = std::size_t(std::ranges::count(endpoints, '\n'));
  if (scenario_.grouped && count != 0 && count != connections_.size())
    troubles_ += fmt::format("{} endpoints of a group arrived\n", count);
  for (int fd; words >> fd >> tuple;)
    for (Connection& each : connections_)
      if (each.tuple == tuple) {
        if (each.taken) troubles_ += tuple + ": arrived twice\n";
        each.taken.reset(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), fd, 0)));
      }
}

void TwoHosts::write(Connection& connection, const unique_fd& end, const std::string& text) {
  (end.get() == connection.client.get() ? connection.to_read : connection.to_be_read) += text;
  if (::send(end.get(), text.data(), text.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(text.size()))
    troubles_ += fmt::format("{}: cannot write: {}\n", connection.tuple, std::strerror(errno));
}

}  // namespace sockmi::daemon
