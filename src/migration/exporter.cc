// The exporter's half of a migration. Exporter::run() lists the steps in order and states
// what holds after each of them; start there.
//
// Endpoints move in batches, because most of the cost (the search for a host, control
// messages, netlink transactions, the RCU barrier) is the same for many endpoints as for
// one. Each endpoint succeeds or fails alone, and each group as a whole: what fails for
// one endpoint of a group before the decision fails for all, and the decision is one
// record.
//
// Invariant: until the decision is in the journal, any step may fail, and the connection
// then continues on this host unharmed. After the decision, every step is retried until
// it succeeds.
//
// Design: four choices, the first two of which differ from the order in which CRIU and
// the SockMi paper do this.
//
// 1. Freezing blocks output, not input. The freeze is the socket's own mark: the output
//    hook drops everything that the socket sends from then on. The socket still receives,
//    but it cannot acknowledge what it receives, so the peer keeps a copy of it. What the
//    socket has received since its capture (part of the freeze delta) is read from it at
//    the end and sent after the image, so that the peer need not even retransmit it.
// 2. The redirect is installed last, when the importer holds the same endpoint, frozen in
//    the same way. So every packet finds a socket, and none has to be held or dropped.
//    Before the redirect a packet enters our receive queue. After it, it enters the
//    importer's, perhaps beyond a gap that the freeze delta fills.
// 3. Other threads of the application, and its children, may use the socket during the
//    move. What they write waits in the frozen socket; what they read is missing from its
//    receive queue. Both facts travel with COMMIT. From the decision on, their calls
//    fail, so that nobody takes data that is then lost. If the importer does not get the
//    endpoint, such calls work again. A thread that sleeps in send(2) at the decision
//    cannot be woken without ending the stream. It is woken when the importer has thawed
//    the endpoint (seal()), and the importer gives the endpoint to an application only
//    after it has received what such a thread wrote in between (late writes).
// 4. Acknowledgements wait for the thaw. What both sockets received while they were
//    frozen is acknowledged by the importer's thaw, all of it together. What the peer
//    acknowledged during the freeze travels with COMMIT. Acknowledging earlier, during
//    the freeze, would promise data that only this host has.
//
// Effect on the peer: a pause. The peer retransmits nothing if the pause is shorter than
// two round trips plus 200 ms or more (one segment in flight), or than two round trips
// plus two ticks of its clock (several segments in flight; a tail loss probe, 4 to 8 ms
// at 250 Hz on a path without delay). There is one exception: if other threads write
// during the move, the peer repeats what it sends to the importer before COMMIT, because
// the importer does not have the data yet that these segments acknowledge. What is
// transferred in the freeze makes it long, so unread data is transferred before it
// (pre_copy.h).
//
// The old socket is destroyed only after an RCU barrier. A packet that had passed our
// hook before the redirect (a straggler), and that then found no socket, would be
// answered by RST. The barrier runs in parallel with the transfer; only the destruction
// waits for it. What stragglers brought is sent to the importer once more.
//
// Alternatives considered:
//
// - Blocking input instead of output, as CRIU and the SockMi paper do. A packet that is
//   already past the blocking rule is then accepted and acknowledged after the capture,
//   which loses its data silently.
#include "migration/exporter.h"

#include <algorithm>

#include <sockmi/sockmi.h>
#include <sys/socket.h>
#include <boost/asio/post.hpp>

#include "base/fault.h"
#include "base/log.h"
#include "base/spawn.h"
#include "connections/redirects.h"
#include "context/async_event.h"
#include "migration/accept_queue.h"
#include "migration/commit.h"
#include "migration/decision.h"
#include "migration/delta_files.h"
#include "migration/examination.h"
#include "migration/find_host.h"
#include "migration/marks.h"
#include "migration/pre_copy.h"
#include "migration/privileges.h"
#include "migration/settlement.h"
#include "steer/packet_marks.h"
#include "steer/rcu_barrier.h"
#include "tcp/listener.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kDecisionMargin{1000};  // before the kernel lets the redirects expire
// Then the application learns that the outcome is unknown; COMMIT is still repeated.
constexpr milliseconds kCommitPatience{3000};

class Exporter {
 public:
  Exporter(Exports& exports, std::vector<ExportItem> items, IpAddress target,
           Clock::time_point decide_by, const ExportMore& export_more)
      : exports_(exports),
        services_(exports.services),
        table_(exports.table),
        settings_(exports.services.settings),
        all_(std::move_iterator(items.begin()), std::move_iterator(items.end())),
        target_(target),
        decide_by_(decide_by),
        export_more_(export_more),
        kill_is_safe_(std::make_shared<Event>(services_.io.get_executor())) {
    for (auto first = all_.begin(); first != all_.end();) {
      const auto end = end_of_group(first, all_.end());
      groups_.emplace_back(first, end);
      first = end;
    }
  }
  Exporter(const Exporter&) = delete;

  // `found`: see export_batch().
  asio::awaitable<void> run(Result<>& found) {
    // The connections are untouched, and stay so if any of these steps fails.
    examine(services_, table_, all_);
    if (auto room = table_.reserve(all_.size()); !room) fail_all(going(), room.error());
    if (found || found.error().code != EHOSTUNREACH) found = co_await find_importer();
    if (!found) each([&](ExportedEndpoint&) { return found; });
    co_await try_paths(services_, choice_, going(), decide_by_);
    co_await pre_copy_queues(services_, choice_, going(), decide_by_);
    each([&](ExportedEndpoint& one) { return read_settings(one); });
    if (auto done = co_await standby(); !done)
      each([&](ExportedEndpoint&) { return Result<>(done); });
    each([&](ExportedEndpoint& one) { return guard(one); });
    // Each socket is output-blocked from its freeze on. It acknowledges nothing any more
    // that is missing from its image or from what is sent after the image.
    each([&](ExportedEndpoint& one) { return freeze(one); });
    co_await prepare();
    // The importer holds the same endpoints, frozen. Neither host has acknowledged data
    // that the other lacks.
    //
    // Before a listener moves, move the connections that wait in its accept queue; from
    // here on no new one begins. (The importer's listener is created first, because it
    // cannot listen next to existing connections on its address unless they share the
    // address with it.)
    for (ExportedEndpoint* one : going()) {
      if (one->endpoint.state == SOCKMI_LISTENING) {
        one->result = co_await move_accept_queue(exports_, *one, choice_, export_more_, decide_by_);
      }
    }
    redirect();
    // The peers' packets reach the importer's sockets. If this daemon dies, the kernel
    // itself ends the redirects.
    for (const Group group : groups_)
      decide(services_, table_, choice_, decide_by_, group);
    roll_back();
    // *Point of no return.* The decision is in the journal. From here on only the
    // importer knows where the endpoint lives, and it is asked until it answers.
    co_await send_commit();
    // One endpoint lives again: the importer's, or ours if that was lost before its thaw.
    co_await settle_all();
  }

  std::vector<ExportedEndpoint>& all() { return all_; }

 private:
  using Group = std::span<ExportedEndpoint>;

  // Applies `step` to each endpoint that is still moving. An endpoint for which it fails
  // stays here, and its group with it.
  template <class Step>
  void each(Step step) {
    for (const Group group : groups_)
      for (ExportedEndpoint& one : group) {
        if (one.result) one.result = step(one);
        if (one.result) continue;
        keep_together(group);
        break;
      }
  }
  std::vector<ExportedEndpoint*> going() {
    for (const Group group : groups_)
      keep_together(group);
    std::vector<ExportedEndpoint*> out;
    for (ExportedEndpoint& one : all_)
      if (one.result) out.push_back(&one);
    return out;
  }
  void fail_all(const std::vector<ExportedEndpoint*>& those, const Error& error) {
    for (ExportedEndpoint* one : those)
      one->result = std::unexpected(error);
  }

  asio::awaitable<Result<>> find_importer() {
    const auto those = going();
    if (those.empty()) co_return Result<>();
    CO_TRY_LET(choice, co_await find_host(services_, those, all_.front().id, all_.size(), target_));
    choice_ = choice;
    for (ExportedEndpoint& one : all_)
      one.record.to = choice_.host;
    co_return Result<>();
  }

  // Reading the options takes as long as the rest of the freeze, so they are read before
  // it. They are not read any earlier, because the application may still change them.
  Result<> read_settings(ExportedEndpoint& one) {
    if (!one.passive())
      one.settings = tcp::read_settings(one.socket.get(), one.tuple.local.ip.family, false);
    return {};
  }

  // Opens and uses the control connection now, so that the freeze waits neither for a
  // handshake nor for a sleeping host: both daemons poll from here on.
  asio::awaitable<Result<>> standby() {
    if (going().empty()) co_return Result<>();
    services_.low_latency.stand_by();
    auto answer = co_await services_.control->call(choice_.host, choice_.control_address,
                                                   wire::pack_standby(), kCommitPatience);
    co_return answer ? Result<>() : std::unexpected(answer.error());
  }

  const IpAddress& address(const ExportedEndpoint& one) const {
    return choice_.address_for(one.tuple.local.ip);
  }
  bool is_ours(const ExportedEndpoint& one) const { return one.endpoint.home == settings_.host; }
  bool goes_home(const ExportedEndpoint& one) const { return choice_.host == one.endpoint.home; }

  Result<> guard(ExportedEndpoint& one) {
    if (one.passive()) return {};
    TRY_LET(owner, tcp::OriginalOptions::of(one.socket.get()));
    if (exports_.guard && owner.mark != steer::kFreezeMark)
      one.guarded = exports_.guard->hold(one.id, one.socket.get(), owner, one.asker);
    one.owner = owner;
    one.history = exports_.histories.find(one.cookie);
    const auto now = tcp::Place::of(one.socket.get());
    one.history.in_use |=
        one.began && now && (now->written != one.began->written || now->read != one.began->read);
    return {};
  }

  Result<> freeze(ExportedEndpoint& one) {
    const auto now = Clock::now();
    if (froze_ == Clock::time_point()) {
      if (now > decide_by_) return fail(ETIMEDOUT, "no host was found in time");
      decide_by_ = std::min(decide_by_, now + settings_.freeze_timeout - kDecisionMargin);
      froze_ = now;
      services_.low_latency.begin();
    }
    // Exports back to home at shutdown have no asker and continue.
    if (services_.stopping && one.asker >= 0) return fail(EHOSTDOWN, "sockmid is stopping");
    if (one.token && one.token->is_lost()) return given_up();
    TRY(fault::point("freeze"));
    if (one.passive()) {
      TRY_LET(image, tcp::capture_passive(one.socket.get()));
      one.endpoint.tcp = std::move(image);
      limit_privileges(one);
      return {};
    }
    TRY_LET(frozen, tcp::FrozenSocket::freeze(one.socket.get(), *one.owner, kMarks,
                                              std::move(one.settings), one.history));
    one.frozen.emplace(std::move(frozen));
    TRY(fault::point("capture"));
    TRY_LET(image, one.frozen->capture(&one.pre_copied));
    one.endpoint.tcp = std::move(image);
    limit_privileges(one);
    return {};
  }

  void limit_privileges(ExportedEndpoint& one) {
    one.endpoint.tcp.transparent &= is_ours(one);  // elsewhere, this daemon has set it
    if (services_.steering->in_other_namespace(one.tuple.local.ip))
      leave_privileges_behind(one.endpoint.tcp);
  }

  // Passive endpoints have no path to try. They wait for notices here, not frozen.
  asio::awaitable<void> prepare() {
    NoticePatience patience(decide_by_);
    auto those = going();
    do {
      co_await send_images(those);
      std::erase_if(those, [](const ExportedEndpoint* one) { return !one->passive(); });
    } while (co_await patience.should_ask_again(those));
  }

  asio::awaitable<void> send_images(std::vector<ExportedEndpoint*> those) {
    if (those.empty()) co_return;
    std::vector<wire::OutgoingImage> images;
    for (ExportedEndpoint* one : those) {
      exports_.undecided.insert(one->id);
      images.push_back({one->id, &one->endpoint, one->pre_copied.size()});
      one->record.pre_copied = one->pre_copied.size();
    }
    Secret message = wire::pack_prepare(images, settings_.control_address());
    for (ExportedEndpoint* one : those)
      one->record.bytes = message.size() / those.size();
    if (auto may = fault::point("prepare-send"); !may) co_return fail_all(those, may.error());
    auto reply = co_await services_.control->call(choice_.host, choice_.control_address,
                                                  std::move(message), time_left());
    auto verdicts = wire::verdicts_of(reply, those.size());
    if (!verdicts) co_return fail_all(those, verdicts.error());
    for (std::size_t i = 0; i < those.size(); ++i)
      those[i]->result = std::move((*verdicts)[i]);
  }

  milliseconds time_left() const {
    return std::max(milliseconds(1),
                    std::chrono::duration_cast<milliseconds>(decide_by_ - Clock::now()));
  }

  // Endpoints that return home need no redirect of this host: home lets their packets in
  // when it has prepared them.
  void redirect() {
    std::vector<steer::Redirect> redirects;
    std::vector<ExportedEndpoint*> those;
    for (ExportedEndpoint* one : going()) {
      if (goes_home(*one)) continue;
      if (one->passive()) {
        one->result = redirect_passive(services_, table_, one->tuple.local, choice_.host);
        one->redirected = one->result.has_value();
        continue;
      }
      those.push_back(one);
      redirects.push_back({one->tuple, address(*one), settings_.freeze_timeout});
    }
    if (!those.empty()) {
      auto done = fault::point("redirect");
      if (done) done = services_.steering->redirect(redirects);
      if (!done) fail_all(those, done.error());
      for (ExportedEndpoint* one : those)
        one->redirected = done.has_value();
    }
    // Those that return home wait for it, too.
    asio::post(services_.workers, [event = kill_is_safe_, io = &services_.io] {
      if (auto passed = steer::barrier(); !passed)
        log::error("rcu_barrier_failed", {{"error", passed.error()}});
      asio::post(*io, [event] { event->set(); });
    });
  }

  // Endpoints that failed continue here. Their redirects are removed before they are
  // unfrozen, so that they receive before they send.
  void roll_back() {
    std::vector<FourTuple> redirected;
    std::vector<wire::MigrationId> ids;
    for (ExportedEndpoint& one : all_) {
      if (one.result) continue;
      if (one.passive() && one.redirected) stop_redirecting(services_, table_, one.tuple);
      if (one.endpoint.state == SOCKMI_LISTENING) release(services_, one.tuple.local);
      if (!one.passive() && one.redirected) redirected.push_back(one.tuple);
      ids.push_back(one.id);
    }
    if (auto removed =
            redirected.empty() ? Result<>() : services_.steering->remove_redirects(redirected);
        !removed) {
      log::error("redirects_remove_failed",
                 {{"count", redirected.size()}, {"error", removed.error()}});
    }
    for (ExportedEndpoint& one : all_) {
      if (one.result) continue;
      exports_.undecided.erase(one.id);
      if (is_in_commit_alone(one.delta)) drop_delta(settings_.runtime, one.id);
      if (!one.frozen) continue;
      exports_.histories.remember(one.cookie, one.frozen->history());
      if (auto given = services_.steering->within(one.tuple.local.ip,
                                                  [&] { return one.frozen->unfreeze(); });
          !given)
        log::error("socket_unfreeze_failed", {{"connection", one.tuple}, {"error", given.error()}});
      one.frozen.reset();
    }
    // The importer has reserved slots, at least. If this is lost, it asks.
    if (!ids.empty() && !choice_.host.empty())
      spawn(services_.io, "send_abort", send_abort(*services_.control, choice_, std::move(ids)));
  }

  asio::awaitable<void> send_commit() {
    const auto those = going();
    if (those.empty()) co_return services_.low_latency.end();
    std::vector<steer::Redirect> permanent;
    for (const Group group : groups_) {
      if (!group.front().result) continue;
      const std::size_t first = commitments_.size();
      for (ExportedEndpoint& one : group) {
        if (one.redirected && !one.passive())
          permanent.push_back({one.tuple, address(one), std::nullopt});
        // Otherwise an importer that asks has to wait for COMMIT itself.
        if (!is_in_commit_alone(one.delta)) exports_.undecided.erase(one.id);
        commitments_.push_back(std::make_shared<CommitProgress>(
            services_.io.get_executor(), wire::Committed{one.id, std::move(one.delta)}));
      }
      make_group(std::span(commitments_).subspan(first));
    }
    (void)fault::point("decided");  // nothing may fail here any more, but we may die
    // The message has left when this returns.
    spawn(services_.io, "repeat_commit",
          send_commit_until_acknowledged(exports_, choice_, commitments_));
    // Until now the redirects expired by themselves after seconds. They become permanent
    // while the importer's answer is still in flight.
    if (!permanent.empty() && !services_.steering->redirect(permanent)) {
      spawn(services_.io, "retry_redirects",
            retry_redirects(services_, table_, std::move(permanent)));
    }
    (void)fault::point("handed-over");
    const auto deadline = Clock::now() + kCommitPatience;
    for (const auto& commitment : commitments_)
      co_await commitment->known.wait(deadline);
    std::vector<ExportedEndpoint*> there;
    for (std::size_t i = 0; i < those.size(); ++i)
      if (commitments_[i]->outcome == Outcome::Lives) there.push_back(those[i]);
    seal(services_, choice_, there);
    services_.low_latency.end();
  }

  // Settles each endpoint by the importer's answer. Without one it stays frozen.
  asio::awaitable<void> settle_all() {
    const auto those = going();
    if (those.empty()) co_return;
    co_await kill_is_safe_->wait();
    for (std::size_t i = 0; i < those.size(); ++i) {
      if (commitments_[i]->outcome == Outcome::Unknown) {
        leave_in_doubt(exports_.connections, choice_, *those[i], commitments_[i]);
        continue;
      }
      if (commitments_[i]->outcome == Outcome::Lives) {
        those[i]->record.freeze_us =
            (commitments_[i]->thawed - froze_) / std::chrono::microseconds(1);
      }
      co_await settle(exports_.connections, choice_, *those[i], *commitments_[i]);
    }
  }

  Exports& exports_;
  const Services& services_;
  ConnectionTable& table_;
  const Settings& settings_;
  std::vector<ExportedEndpoint> all_;
  std::vector<Group> groups_;  // of all_; an endpoint without a group is alone in one
  IpAddress target_;
  Clock::time_point decide_by_;
  const ExportMore& export_more_;
  std::shared_ptr<Event> kill_is_safe_;  // set when no straggler can be in flight any more
  Commitments commitments_;              // of the endpoints that move, in their order
  cluster::SelectedHost choice_;
  Clock::time_point froze_;
};

}  // namespace

asio::awaitable<std::vector<ExportedEndpoint>> export_batch(
    Exports& exports, std::vector<ExportItem> items, IpAddress target, Clock::time_point decide_by,
    const ExportMore& export_more, Result<>& found) {
  Exporter batch(exports, std::move(items), target, decide_by, export_more);
  co_await batch.run(found);
  co_return std::move(batch.all());
}

}  // namespace sockmi::daemon
