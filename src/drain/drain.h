// Drains this host: keeps new connections of other hosts away (the cordon), and has the
// applications export theirs, until none is left.
//
// The daemon does not know which connections an application holds. So it lists the
// connections of the host, and orders the applications of each service that may have one
// to export exactly this one, to a host that the drain has chosen. An application that
// does not have it answers that it exported nothing. The outcome of an export is known
// from the history of migrations, and not only from the application. What an application
// says counts only for a connection that it may hold, by the user of the socket: no user
// can claim the connections of another one. A socket of root may have been given to any
// user. If an application of another user says that it holds it, or says nothing, that
// connection is in doubt: it stays, and is not cut.
//
// Many orders are open at a time, so that an application can carry them out together. The
// services take turns: applications that answer late keep those of other services from
// nothing.
//
// Bounds: OrderWindow::kMost orders are open at a time for each service, and `rate` are
// given per second. Each connection is tried kMostTries times at all hosts that are
// willing; it then stays, with the reason of the last attempt. A connection that no host
// takes for kHostPatience, or until the deadline if there is one, stays, too. If the
// kernel does not list the connections for kListPatience, the drain ends. So it ends,
// whatever applications, hosts and kernel do. With OnStuck::Wait the operator has asked
// for the opposite: the drain goes on until all have moved, its deadline passes, or it is
// stopped.
//
// Alternatives considered: one order to export everything, as `sockmictl export` gives
// it. It has no rate, goes to one host, and an application does nothing else until it
// has carried it out.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>

#include <boost/asio/steady_timer.hpp>

#include "applications/export_requests.h"
#include "drain/drain_state.h"
#include "drain/local_connections.h"
#include "drain/order_window.h"
#include "drain/pace.h"
#include "drain/survey.h"
#include "migration/importer.h"

namespace sockmi::daemon {

class Drain {
 public:
  static constexpr unsigned kMostTries = 4;
  static constexpr milliseconds kHostPatience{30'000};
  static constexpr milliseconds kListPatience{5'000};
  // For applications to connect again to a daemon that has started.
  static constexpr milliseconds kReconnectTime{5'000};

  Drain(Connections& connections, ExportRequests& requests, const ImportQueue& import_queue,
        Importer& importer, const std::filesystem::path& state_folder);
  Drain(const Drain&) = delete;

  // Continues what an earlier daemon began. To be called when discovery is open.
  void resume();

  // Checks an order, and replaces the addresses of its hosts by their names. Errors:
  // EHOSTUNREACH if a host is not known here; ENOENT if a service is not configured.
  Result<> check(DrainOrder& order) const;
  // Cordons this host and begins to move its connections. Returns false, and changes
  // nothing, if a drain is under way. Errors: of check(), and of the state file.
  Result<bool> start(DrainOrder order);
  // Ends the drain that is under way; the host remains cordoned. Errors: ENOENT if none
  // is.
  Result<> stop();
  // Ends the cordon, and the drain. Errors: of the state file.
  Result<> undrain();

  bool is_cordoned() const { return state_.cordoned(); }
  const DrainState& state() const { return state_; }
  // What is wrong with the state file; "": nothing.
  const std::string& warning() const { return warning_; }

  enum class Fate {
    Open,     // it will be tried, or tried again
    Stays,    // an application holds it, or may hold it, and it cannot move
    NotHeld,  // no application has said that it holds it
  };
  struct Tracked {
    LocalConnection connection;
    Fate fate = Fate::Open;
    bool ordered = false;         // an application has been asked and has not answered
    unsigned tries = 0;           // at all hosts that were willing
    unsigned reopened = 0;        // because applications came or went
    std::set<std::string> tried;  // hosts at which it failed since
    std::set<std::string> asked;  // services whose applications do not have it
    Clock::time_point next_try{};
    std::optional<Clock::time_point> without_host;  // since when no host takes it
    std::optional<Error> error;                     // of the export that was ordered last
    std::string doubt;   // an application may hold it whose word does not count; "": none
    std::string reason;  // why it has not moved yet
  };
  using AllTracked = std::map<std::uint64_t, Tracked>;  // by socket cookie
  // The connections of the last drain that have not left.
  const AllTracked& tracked() const { return tracked_; }
  struct Progress {
    std::size_t open = 0, stay = 0, not_held = 0;
    double per_second = 0;
    const FreezeTimes& freezes;
  };
  Progress progress() const;
  const Spreads& spreads() const { return *spreads_; }
  // Returns which hosts would take connections of these services, or of all.
  asio::awaitable<Spreads> survey(DrainOrder order) const;

 private:
  void load();
  bool is_active(std::uint64_t run) const;
  bool is_late() const;
  void begin();
  Result<> change(DrainState next);
  void save();
  void finish(DrainPhase phase, std::string reason = {});
  asio::awaitable<void> run(std::uint64_t run);
  asio::awaitable<void> keep_informed(std::uint64_t run);
  Result<bool> look();
  bool may_wait_for_list(const Error& error);
  void notice_applications();
  void queue(std::uint64_t cookie, Tracked& tracked);
  asio::awaitable<void> order_due(std::uint64_t run);
  std::optional<std::string> next_service();
  void place(std::uint64_t run, std::uint64_t cookie, const std::string& service);
  Clock::duration order_interval() const;
  asio::awaitable<void> order(std::uint64_t run, LocalConnection connection, std::string service,
                              std::string host, ExportRequest request);
  void judge(Tracked& tracked, const std::string& service, const std::string& host,
             const ExportOutcome& outcome);
  void stays(Tracked& tracked);
  asio::awaitable<void> end(std::uint64_t run, DrainPhase phase);
  asio::awaitable<void> cut_stuck(std::uint64_t run);
  void cut(const LocalConnection& connection);
  void try_again(Tracked& tracked);
  void nobody_has(Tracked& tracked);
  static ExportRequests::Trust trust_in(const User& user, const LocalConnection& connection);
  std::vector<std::string> services_for(const Tracked& tracked) const;
  std::set<std::string> services_of(const DrainOrder& order) const;
  bool is_in_scope(const std::string& service) const;
  void on_record(const Record& record);

  Connections& connections_;
  const Services& services_;
  ExportRequests& requests_;
  const ImportQueue& import_queue_;
  Importer& importer_;
  const DrainFile file_;
  DrainState state_;
  std::string warning_;
  bool unsaved_ = false;  // the counts of state_ are newer than the file

  std::uint64_t run_ = 0;  // the number of the drain; tasks of an earlier one end
  AllTracked tracked_;
  std::map<FourTuple, std::uint64_t> by_tuple_;
  std::map<std::string, std::deque<std::uint64_t>> due_;  // by service; none is empty
  std::string last_service_;                              // that had its turn
  std::map<std::string, OrderWindow> windows_;            // by service
  std::optional<Clock::time_point> unlisted_;             // since when the kernel lists nothing
  // Of this drain: a survey of an earlier one still writes into its own.
  std::shared_ptr<Spreads> spreads_ = std::make_shared<Spreads>();
  FreezeTimes freezes_;
  RecentRate rate_;
  std::size_t orders_ = 0;  // that are open, for all services
  Clock::time_point next_order_{}, grace_until_{};
  std::vector<std::pair<std::string, pid_t>> applications_;
  asio::steady_timer wake_;  // cancelled when an order ends
};

}  // namespace sockmi::daemon
