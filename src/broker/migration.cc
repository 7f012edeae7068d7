// A migration, as its exporter lives it. Read run() first: it is the story, and states what holds when.
//
// Two changes to the order in which others do this (CRIU, the article):
//
// The freeze is the socket's own mark. A redirect alone keeps new packets out, but one that is already past the hook is still accepted and
// acknowledged after the capture: a silent loss. Waiting for such stragglers (membarrier) costs milliseconds inside the freeze. So the
// socket is made mute first: whatever it sends from then on is dropped at the output hook. What it may still accept, it can no longer
// acknowledge, and the peer sends it again to the importer.
//
// The barrier guards the kill instead: a straggler that meets no socket would be answered by RST. It runs beside the transfer, and only the
// kill waits for it, when the endpoint already lives elsewhere.
#include "broker/migration.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <openssl/rand.h>

#include "base/fault.h"
#include "base/log.h"
#include "broker/event.h"
#include "broker/residents.h"
#include "tcp/capture.h"
#include "tcp/inspect.h"

namespace sockmi::broker {
namespace {

constexpr milliseconds kDecisionMargin{1000};  // decide well before the kernel lets the redirect expire
constexpr milliseconds kCommitPatience{3000};  // then the application need not wait any longer; the repetition goes on

class Export {
 public:
  Export(World& world, unique_fd socket, image::Endpoint endpoint, IpAddress target, milliseconds timeout)
      : world_(world), settings_(world.settings), socket_(std::move(socket)), endpoint_(std::move(endpoint)), target_(target),
        decide_by_(timeout.count() > 0 ? Clock::now() + timeout : Clock::time_point::max()), kill_is_safe_(std::make_shared<Event>(world.io.get_executor())) {}

  Export(const Export&) = delete;
  // A daemon that stops between the decision and the kill must not leave two live endpoints.
  ~Export() {
    if (decided_ && frozen_) (void)frozen_->kill();
  }

  asio::awaitable<Result<>> run() {
    // The connection is untouched, and stays so if any of this fails.
    CO_TRY(examine());
    CO_TRY(co_await negotiate());
    auto prepared = freeze();
    // No new packet of the peer reaches our stack, and the socket is mute. The kernel itself ends the redirect if we die.
    if (prepared) prepared = co_await prepare();
    // The importer holds the same endpoint, frozen. Neither host has acknowledged what the other lacks.
    if (prepared) prepared = decide();
    if (!prepared) {
      roll_back();
      co_return prepared;
    }
    // *Point of no return.* The journal says so; from here on things are retried, never given up.
    co_await hand_over();
    // One live endpoint again: the importer's.
    co_await forget();
    co_return Result<>();
  }

  Record record() const { return record_; }

 private:
  Result<> examine() {
    TRY_LET(facts, tcp::inspect(socket_.get()));
    tuple_ = facts.tuple;
    cookie_ = facts.cookie;
    RAND_bytes(id_.data(), id_.size());
    const auto resident = world_.residents.find(cookie_);
    endpoint_.home = resident == world_.residents.end() ? settings_.host : resident->second.home;
    endpoint_.home_line = resident == world_.residents.end() ? settings_.line() : resident->second.home_line;
    record_ = {.id = id_, .exported = true, .service = endpoint_.service, .from = settings_.host, .tuple = tuple_,
               .started = std::chrono::system_clock::now()};
    return {};
  }

  asio::awaitable<Result<>> negotiate() {
    CO_TRY(fault::point("negotiate"));
    peer::Offer offer{.id = id_, .service = endpoint_.service, .owner = endpoint_.owner, .state = endpoint_.state, .tuple = tuple_,
                      .home = tuple_.local.ip.unmapped(), .size = endpoint_.tls.size() + endpoint_.payload.size(), .target = target_};
    CO_TRY_LET(choice, co_await world_.negotiation->find(std::move(offer)));
    choice_ = choice;
    record_.to = choice_.host;
    // The line is opened now, so that the freeze does not wait for its handshake.
    co_return co_await world_.transfer->connect(choice_.host, choice_.line);
  }

  bool goes_home() const { return choice_.host == endpoint_.home; }

  Result<> freeze() {
    froze_ = Clock::now();
    if (froze_ > decide_by_) return fail(ETIMEDOUT, "no host was found in time");
    decide_by_ = std::min(decide_by_, froze_ + settings_.freeze_timeout - kDecisionMargin);
    TRY(fault::point("redirect"));
    // An endpoint that goes home needs no redirect of ours: home takes its own away when it is told to commit.
    if (!goes_home()) {
      TRY(world_.steering->redirect(tuple_, choice_.address, settings_.freeze_timeout));
      redirected_ = true;
    }
    TRY(fault::point("freeze"));
    TRY_LET(frozen, tcp::Frozen::freeze(socket_.get(), steer::kFreezeMark));
    frozen_.emplace(std::move(frozen));
    asio::post(world_.workers, [event = kill_is_safe_, io = &world_.io] {
      if (auto passed = steer::barrier(); !passed) log::error("event=barrier_failed error=\"{}\"", to_string(passed.error()));
      asio::post(*io, [event] { event->set(); });
    });
    return {};
  }

  // Captures and sends the image until one is taken that still stands. One repetition is enough to carry a straggler along: were there another,
  // the peer would send it again.
  asio::awaitable<Result<>> prepare() {
    world_.undecided.insert(id_);
    for (int attempt = 0; attempt < 2; ++attempt) {
      CO_TRY(fault::point("capture"));
      CO_TRY_LET(image, frozen_->capture());
      endpoint_.tcp = std::move(image);
      Secret message = image::pack_prepare(id_, endpoint_, settings_.line());
      record_.bytes = message.size();
      CO_TRY(fault::point("prepare-send"));
      CO_TRY_LET(reply, co_await world_.transfer->call(choice_.host, choice_.line, std::move(message), time_left()));
      CO_TRY(image::read_answer(reply));
      CO_TRY(fault::point("check"));
      CO_TRY_LET(stands, frozen_->still_stands(endpoint_.tcp));
      if (stands) break;
      ++world_.counters.recaptured;
    }
    co_return Result<>();
  }

  milliseconds time_left() const {
    return std::max(milliseconds(1), std::chrono::duration_cast<milliseconds>(decide_by_ - Clock::now()));
  }

  std::optional<Away> away() const {
    if (goes_home()) return std::nullopt;
    return Away{endpoint_.service, choice_.host, choice_.address, endpoint_.home, endpoint_.home_line};
  }

  Result<> decide() {
    if (Clock::now() > decide_by_) return fail(ETIMEDOUT, "the importer was not ready in time");
    TRY(fault::point("journal"));
    return world_.journal.committed(id_, cookie_, tuple_, away());
  }

  void roll_back() {
    if (redirected_) {
      if (auto removed = world_.steering->remove_redirect(tuple_); !removed)
        log::error("event=redirect_left connection={} error=\"{}\"", to_string(tuple_), to_string(removed.error()));
    }
    if (frozen_) {
      if (auto given = frozen_->give_back(); !given)
        log::error("event=give_back_failed connection={} error=\"{}\"", to_string(tuple_), to_string(given.error()));
    }
    world_.undecided.erase(id_);
    // The importer has reserved a place at least. If this is lost, it asks, and finds no record.
    asio::co_spawn(world_.io, send_abort(world_, choice_, id_), asio::detached);
  }

  static asio::awaitable<void> send_abort(World& world, peer::Choice choice, image::MigrationId id) {
    co_await world.transfer->call(choice.host, choice.line, image::pack_abort(id), milliseconds(1000));
  }

  asio::awaitable<void> hand_over() {
    decided_ = true;
    world_.undecided.erase(id_);
    went(world_, cookie_, tuple_, away());
    if (!goes_home()) co_await insist_on_redirect();
    auto acknowledged = std::make_shared<Event>(world_.io.get_executor());
    asio::co_spawn(world_.io, repeat_commit(world_, choice_, id_, acknowledged), asio::detached);
    if (co_await acknowledged->wait(Clock::now() + kCommitPatience))
      record_.freeze_us = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - froze_).count();
  }

  asio::awaitable<void> insist_on_redirect() {
    for (;;) {
      auto permanent = world_.steering->redirect(tuple_, choice_.address, std::nullopt);
      if (permanent) co_return;
      log::error("event=redirect_not_permanent connection={} error=\"{}\"", to_string(tuple_), to_string(permanent.error()));
      co_await sleep_for(milliseconds(50));
    }
  }

  static asio::awaitable<void> repeat_commit(World& world, peer::Choice choice, image::MigrationId id, std::shared_ptr<Event> acknowledged) {
    for (milliseconds pause{20};; pause = std::min(2 * pause, milliseconds(5000))) {
      auto reply = co_await world.transfer->call(choice.host, choice.line, image::pack_commit(id), milliseconds(1000));
      auto answer = reply ? image::read_answer(*reply) : Result<int>(std::unexpected(reply.error()));
      if (answer) break;
      // Whoever answers, answers for good: the endpoint is lost with the importer's memory of it, and asking again will not bring it back.
      if (reply) {
        log::error("event=commit_refused migration={} host={} error=\"{}\"", image::to_hex(id), choice.host, to_string(answer.error()));
        break;
      }
      log::warn("event=commit_repeated migration={} host={} error=\"{}\"", image::to_hex(id), choice.host, to_string(answer.error()));
      co_await sleep_for(pause);
    }
    world.journal.acknowledged(id);
    acknowledged->set();
  }

  asio::awaitable<void> forget() {
    co_await kill_is_safe_->wait();
    if (auto killed = frozen_->kill(); !killed)
      log::error("event=kill_failed connection={} error=\"{}\"", to_string(tuple_), to_string(killed.error()));
    frozen_.reset();
    has_left(world_, tuple_, endpoint_.home);
  }

  World& world_;
  const Settings& settings_;
  unique_fd socket_;
  image::Endpoint endpoint_;
  IpAddress target_;
  Clock::time_point decide_by_;
  std::shared_ptr<Event> kill_is_safe_;  // no straggler is under way any more
  FourTuple tuple_;
  std::uint64_t cookie_ = 0;
  image::MigrationId id_{};
  peer::Choice choice_;
  Clock::time_point froze_;
  std::optional<tcp::Frozen> frozen_;
  bool redirected_ = false, decided_ = false;
  Record record_;
};

}  // namespace

asio::awaitable<Result<>> export_endpoint(World& world, unique_fd socket, image::Endpoint endpoint, IpAddress target, milliseconds timeout) {
  Export migration(world, std::move(socket), std::move(endpoint), target, timeout);
  auto result = co_await migration.run();
  Record record = migration.record();
  record.result = result ? "committed" : "aborted";
  if (!result) record.error = to_string(result.error());
  ++(result ? world.counters.exported : world.counters.failed);
  log::info("event=export migration={} service={} connection={} to={} result={} freeze_us={} error=\"{}\"", image::to_hex(record.id),
            record.service, to_string(record.tuple), record.to, record.result, record.freeze_us, record.error);
  world.remember(std::move(record));
  co_return result;
}

}  // namespace sockmi::broker
