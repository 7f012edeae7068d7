// Two hosts (host_process.h), their rules, the messages between them and the time, in the
// hands of a test. One connection or several, or listeners, move from one to the other.
//
// The hosts run one at a time, until they have nothing to do. Then time jumps to the next
// timer, or to the next message that is due. So a run is the same each time, and its
// visible actions and its messages can be counted: a test kills a host before its N-th
// action, or loses the N-th message.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/token.h"
#include "frames.h"
#include "host_process.h"
#include "network.h"
#include "unit/temporary_folder.h"

namespace sockmi::daemon {

using std::chrono::milliseconds;

struct Scenario {
  const char* name;
  Network::Place from;  // A: the connections leave their home; B: they return
  int connections = 1;
  std::size_t unread = 100;  // bytes that the client has sent before, for each connection
  bool written = false;      // another thread writes during the freeze
  bool guarded = false;      // with crash guards
  bool token = false;        // the application may give up the export
  bool gives_up = false;     // and it does, while the images travel
  bool asks = false;         // COMMIT is lost until the importer has sent QueryOutcome
  bool grouped = false;      // the connections are a group
  bool listens = false;      // listeners in place of the connections
  const char* fails = "";    // a fault point of the importer that fails once
  bool stays() const { return gives_up || *fails; }
};

// Kills a host before its visible action number `action` (0: the first), and starts it
// again `pause` later.
struct Crash {
  Network::Place host;
  std::size_t action;
  milliseconds pause;
};

// IsHalved: a Commit arrives without its last endpoint.
enum class Fate { Arrives, IsLost, AnswerIsLost, ComesTwice, ComesAgainLate, IsLate, IsHalved };

class TwoHosts {
 public:
  using Place = Network::Place;
  TwoHosts(Network& network, const Scenario& scenario);
  ~TwoHosts();
  TwoHosts(const TwoHosts&) = delete;

  // What happens to the message number N, of all messages since the export began.
  std::function<Fate(std::size_t number)> fate = [](std::size_t) {
    return Fate::Arrives;
  };
  // In this order. The second one's actions continue to count after the first one.
  std::deque<Crash> crashes;

  // When an operator decides what is in doubt at the importer, rightly: by the exporter's
  // journal. Zero: never.
  milliseconds operator_comes{0};

  // Exports the connections, and lets time pass until nothing more happens.
  void run();
  // Returns what is wrong afterwards; "" if each connection has one live end, which has
  // each byte once, and if records, rules and the result of the export agree with that. A
  // connection may have ended only if its importer died after the thaw
  // (failure-model.md). The connections of a group live all at one host, or have all
  // ended, and arrive at the application together.
  std::string faults();

  // Since the export began.
  const std::vector<std::string>& actions(Place host) const { return hosts_[host].actions; }
  const std::vector<std::string>& messages() const { return messages_; }
  bool crashed() const { return crashes.empty(); }
  bool moved() const { return moved_ > 0; }
  // What the operator decided; "": nothing was in doubt.
  const std::string& operator_said() const { return operator_said_; }
  // The errno of the verdict on the first endpoint of a halved Commit; -1: there is none.
  int verdict_on_half() const { return verdict_on_half_; }

 private:
  using Kind = Frame::Kind;
  using Nanoseconds = std::int64_t;
  static constexpr Nanoseconds kMillisecond = 1'000'000;
  struct Rules {
    struct Redirect {
      std::string to;
      Nanoseconds until;
    };
    std::map<std::string, Redirect> redirects;
    std::map<std::string, Nanoseconds> returning, foreign;
    std::map<std::string, std::string> ports;    // redirected, to which host
    std::map<std::string, Nanoseconds> blocked;  // ports
  };
  struct Host {
    HostSetup setup;
    pid_t process = -1;
    unique_fd link;
    unsigned life = 0;  // how often it was started
    Nanoseconds wakes_up = 0;
    Rules rules;
    std::vector<std::string> actions;
  };
  struct Connection {
    std::string local() const { return tuple.substr(0, tuple.find("<-")); }
    unique_fd server, client;  // of the application, and of its peer
    unique_fd taken;           // by the application at the importer
    std::string tuple;
    std::string to_read, to_be_read;     // by the server's end, and by the client
    int number;                          // of the server's address
    std::optional<Token> token = {};     // of the export
    std::optional<Place> lives_at = {};  // none: it has ended
  };
  struct Delivery {
    Nanoseconds due;
    Place to;
    Frame frame;
    unsigned life = 0;        // of the host that gets a reply; 0: any
    bool is_outcome = false;  // the answer to QueryOutcome
  };
  struct Call {
    Place from;
    unsigned life;
    std::uint64_t number;
    bool answer_is_lost;
  };

  void start(Place place);
  void kill(Place place);
  void tell(Place place, const Frame& frame);
  // A visible action is about to happen. Returns false if the host has died before it.
  bool may_act(Place place, const std::string& name);
  void close_moved_listeners();
  void send_message(Place from, const Frame& frame);
  bool is_too_early(const std::string& message);
  void send_answer(const Frame& frame);
  void deliver(Delivery delivery);
  bool step(Nanoseconds end);
  void pass_time(milliseconds time);
  std::string steer(Rules& rules, const std::string& operation);
  void expire_rules();
  void decide_doubts();
  void route();
  Frame order_to_export() const;
  void take(Place place, const std::string& endpoints);
  void write(Connection& connection, const unique_fd& end, const std::string& text);
  std::string faults_of(Connection& connection);
  std::string faults_of_listener(Connection& connection);
  std::string faults_of_token(Connection& connection) const;
  std::string faults_of_result(const Connection& connection) const;
  std::string faults_of_rules(const Connection& connection, Place lives_at) const;
  std::string faults_of_foreign(const Connection& connection, bool is_away) const;
  std::string faults_of_ports(const Connection& connection) const;
  std::string faults_of_records(Place place, const std::vector<std::string>& away,
                                const std::vector<std::string>& imported);
  Place other(Place place) const { return place == Network::A ? Network::B : Network::A; }
  Nanoseconds now() const { return now_->load(); }

  Network& network_;
  const Scenario scenario_;
  test::TemporaryFolder folder_;
  std::atomic<Nanoseconds>* now_;  // in memory that the hosts share
  Host hosts_[2];
  std::vector<Connection> connections_;
  std::deque<Delivery> deliveries_;
  std::map<std::uint64_t, Call> calls_;
  std::uint64_t last_call_ = 0;
  std::vector<std::string> messages_;
  std::optional<std::string> dumped_;
  std::vector<int> results_;  // of the export: an errno for each connection
  std::optional<std::pair<Nanoseconds, Place>> restart_;
  Nanoseconds restarted_ = 0;  // when a host was started again last
  // After how many actions of the importer COMMIT came, or an answer to QueryOutcome.
  std::optional<std::size_t> commit_came_;
  std::optional<Nanoseconds> commit_sent_;  // first of all
  bool counts_ = false, disturbed_ = false, thawed_ = false, has_written_ = false;
  int moved_ = 0;
  std::uint64_t half_ = 0;  // the call of a halved Commit
  int verdict_on_half_ = -1;
  std::string troubles_, operator_said_;
};

}  // namespace sockmi::daemon
