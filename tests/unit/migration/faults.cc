// What is wrong after a run of two hosts: TwoHosts::faults() and its parts.
#include <algorithm>
#include <cstring>
#include <set>
#include <stdexcept>

#include <nlohmann/json.hpp>

#include "interposed.h"
#include "socket_state.h"
#include "tcp/states.h"
#include "two_hosts.h"

namespace sockmi::daemon {
namespace {

std::string differs(bool is, bool should, const std::string& what) {
  return is == should ? "" : fmt::format("{} {}\n", what, should ? "is missing" : "is left");
}

}  // namespace

std::string TwoHosts::faults_of_rules(const Connection& connection, Place lives_at) const {
  std::string out;
  const Rules &home = hosts_[Network::A].rules, &away = hosts_[Network::B].rules;
  const bool is_away = lives_at == Network::B;
  const auto redirect = home.redirects.find(connection.tuple);
  out += differs(redirect != home.redirects.end(), is_away, "home's redirect");
  if (is_away && redirect != home.redirects.end() && redirect->second.until != kNoTimer)
    out += "home's redirect expires\n";
  out += differs(home.returning.contains(connection.tuple), false, "a return");
  out += faults_of_foreign(connection, is_away);
  return out + differs(!away.redirects.empty(), false, "a redirect at the other host");
}

std::string TwoHosts::faults_of_foreign(const Connection& connection, bool is_away) const {
  const Rules &home = hosts_[Network::A].rules, &away = hosts_[Network::B].rules;
  std::string out =
      differs(home.foreign.contains(connection.tuple), false, "a foreign address at home");
  const auto foreign = away.foreign.find(connection.tuple);
  out += differs(foreign != away.foreign.end(), is_away, "the foreign address");
  if (is_away && foreign != away.foreign.end() && foreign->second != kNoTimer)
    out += "the foreign address expires\n";
  return out;
}

std::string TwoHosts::faults_of_ports(const Connection& connection) const {
  const Rules &home = hosts_[Network::A].rules, &away = hosts_[Network::B].rules;
  const bool is_away = connection.lives_at == Network::B;
  std::string out =
      differs(home.ports.contains(connection.local()), is_away, "home's redirect of the port");
  out += differs(!home.blocked.empty() || !away.blocked.empty(), false, "a blocked port");
  out += differs(!away.ports.empty(), false, "a redirected port at the other host");
  return out + faults_of_foreign(connection, is_away);
}

// A listener has its port for itself: the one that lives accepts a client, and the other
// one is closed for each of its descriptors.
std::string TwoHosts::faults_of_listener(Connection& connection) {
  const auto listens = [](const unique_fd& fd) {
    return fd && state_of(fd.get()) == tcp::kListen;
  };
  const bool stays = listens(connection.server), moved = listens(connection.taken);
  if (stays && moved) return "two listeners\n";
  if (!stays && !moved) return thawed_ ? faults_of_ports(connection) : "no listener\n";
  moved_ += moved;
  connection.lives_at = moved ? other(scenario_.from) : scenario_.from;
  const unique_fd& live = moved ? connection.taken : connection.server;
  try {
    const unique_fd client = network_.connect_to(*SocketAddress::parse(connection.local()));
    pollfd wanted{live.get(), POLLIN, 0};
    if (::poll(&wanted, 1, 5000) != 1) return "the listener does not get its client\n";
    const unique_fd server(::accept4(live.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (::send(client.get(), "hello", 5, MSG_NOSIGNAL) != 5 || read(server.get(), 5) != "hello")
      return "the client's bytes do not arrive\n";
  } catch (const std::runtime_error& error) {
    return fmt::format("{}\n", error.what());
  }
  return faults_of_ports(connection);
}

std::string TwoHosts::faults_of(Connection& connection) {
  const Place from = scenario_.from, to = other(from);
  const int old = connection.server.get();
  const bool stays = state_of(old) == tcp::kEstablished && !is_frozen(old);
  const bool moved = connection.taken && state_of(connection.taken.get()) == tcp::kEstablished &&
                     !is_frozen(connection.taken.get());
  if (stays && moved) return "two live ends\n";
  if (!stays && !moved) {
    if (is_frozen(old) && state_of(old) != tcp::kClose) return "the old socket is frozen\n";
    if (!thawed_) return "no live end\n";
    pollfd end{connection.client.get(), POLLIN, 0};
    return ::poll(&end, 1, 5000) == 1 ? "" : "the client does not see the end\n";
  }
  if (moved && state_of(old) != tcp::kClose) return "the old socket is not destroyed\n";
  moved_ += moved;
  connection.lives_at = moved ? to : from;
  const unique_fd& live = moved ? connection.taken : connection.server;
  std::string out;
  if (read(live.get(), connection.to_read.size()) != connection.to_read)
    out += "the client's bytes are not there\n";
  connection.to_read.clear();
  write(connection, live, "after");
  if (read(connection.client.get(), connection.to_be_read.size()) != connection.to_be_read)
    out += "the server's bytes are not there\n";
  write(connection, connection.client, "reply");
  if (read(live.get(), 5) != "reply") out += "the client's reply is not there\n";
  char byte;
  for (const int each : {live.get(), connection.client.get()})
    if (::recv(each, &byte, 1, MSG_DONTWAIT) != -1 || errno != EAGAIN)
      out += "there are more bytes, or an end\n";
  return out + faults_of_rules(connection, *connection.lives_at);
}

// An application that has the token uses the socket again, so the endpoint is not
// elsewhere.
std::string TwoHosts::faults_of_token(Connection& connection) const {
  if (!connection.token || connection.lives_at == scenario_.from) return "";
  return connection.token->take() ? "the application can still give up\n" : "";
}

std::string TwoHosts::faults_of_result(const Connection& connection) const {
  if (results_.empty()) return "";  // the exporter died before it knew
  const int result = results_[static_cast<std::size_t>(connection.number)];
  const bool is_true = result == 0 ? connection.lives_at != scenario_.from  // or it has ended since
                       : result == EINPROGRESS  ? true
                       : result == ECONNABORTED ? !connection.lives_at
                                                : connection.lives_at == scenario_.from;
  return is_true ? "" : fmt::format("the application was told: {}\n", std::strerror(result));
}

std::string TwoHosts::faults_of_records(Place place, const std::vector<std::string>& away,
                                        const std::vector<std::string>& imported) {
  if (hosts_[place].process < 0) return "not running\n";
  tell(place, {.kind = Kind::Dump});
  const auto dump = nlohmann::json::parse(dumped_.value_or("{}"));
  std::string out;
  if (dump["away"] != dump["away in the journal"]) out += "journal and table differ: away\n";
  if (dump["imported"] != dump["imported in the journal"])
    out += "journal and table differ: imported\n";
  for (const auto& [what, count] : dump["left"].items())
    if (count != nlohmann::json(0) && count != nlohmann::json(false))
      out += fmt::format("left: {} {}\n", what, count.dump());
  // Otherwise the message that ends the importer's record may have been lost.
  if (!disturbed_ && dump["thawed"] != 0) out += "left: thaws\n";
  std::set<std::string> have;
  for (const auto& [tuple, host] : dump["away"].items())
    have.insert(tuple);
  if (have != std::set(away.begin(), away.end())) out += "away: " + dump["away"].dump() + "\n";
  have.clear();
  for (const auto& [text, home] : dump["imported"].items())
    have.insert(text.substr(text.find(' ') + 1));
  if (have != std::set(imported.begin(), imported.end()))
    out += "imported: " + dump["imported"].dump() + "\n";
  return out;
}

std::string TwoHosts::faults() {
  if (hosts_[other(scenario_.from)].process >= 0) tell(other(scenario_.from), {.kind = Kind::Take});
  std::string out = std::exchange(troubles_, "");
  std::vector<std::string> away;
  for (Connection& each : connections_) {
    std::string wrong = scenario_.listens ? faults_of_listener(each) : faults_of(each);
    wrong += faults_of_result(each);
    wrong += faults_of_token(each);
    if (!wrong.empty()) out += each.tuple + ": " + wrong;
    if (each.lives_at == Network::B) away.push_back(each.tuple);
  }
  if (scenario_.grouped && std::ranges::any_of(connections_, [this](const Connection& each) {
        return each.lives_at != connections_.front().lives_at;
      }))
    out += "the group is split\n";
  for (const auto& [place, wrong] :
       {std::pair(Network::A, faults_of_records(Network::A, away, {})),
        std::pair(Network::B, faults_of_records(Network::B, {}, away))})
    if (!wrong.empty()) out += hosts_[place].setup.name + ": " + wrong;
  return out + std::exchange(troubles_, "");
}

}  // namespace sockmi::daemon
