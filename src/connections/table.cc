#include "connections/table.h"

#include <algorithm>

namespace sockmi::daemon {

ConnectionTable::ConnectionTable(Journal journal, std::string host, const SocketAddress& control)
    : journal_(std::move(journal)),
      host_(std::move(host)),
      control_(control),
      imported_(journal_.imported()),
      remote_(journal_.away()) {}

const ImportedConnection* ConnectionTable::find_imported(std::uint64_t cookie) const {
  const auto it = imported_.find(cookie);
  return it == imported_.end() ? nullptr : &it->second;
}

const RemoteConnection* ConnectionTable::find_remote(const FourTuple& tuple) const {
  const auto it = remote_.find(tuple);
  return it == remote_.end() ? nullptr : &it->second;
}

Result<> ConnectionTable::may_come(const std::string& from, const FourTuple& tuple) const {
  const RemoteConnection* remote = find_remote(tuple);
  if (!remote || (remote->home == host_ && remote->host == from)) return {};
  if (remote->home == host_)
    return fail(EBUSY, "{} lives at {}, as far as {} knows", to_string(tuple), remote->host, host_);
  return fail(EBUSY, "{} just moved on and its home {} has not confirmed it; try again",
              to_string(tuple), remote->home);
}

Result<> ConnectionTable::log_decision(std::span<const Departure> group) {
  TRY(journal_.committed(group));
  for (const auto& [id, decision, away] : group) {
    imported_.erase(decision.cookie);
    if (away) put_remote(decision.tuple, *away);
  }
  return {};
}

void ConnectionTable::undo_decision(const wire::MigrationId& id, const Decision& decision,
                                    const std::optional<ImportedConnection>& imported) {
  journal_.taken_back(id, decision, imported);
  erase_remote(decision.tuple);
  if (imported) imported_[decision.cookie] = *imported;
}

void ConnectionTable::forget_thaw(std::span<const wire::MigrationId> group,
                                  std::span<const Journal::Away> away) {
  journal_.not_thawed(group, away);
  for (const auto& [tuple, remote] : away)
    put_remote(tuple, remote);
}

void ConnectionTable::mark_moved(const FourTuple& tuple, const RemoteConnection& remote) {
  journal_.is_away(tuple, remote);
  put_remote(tuple, remote);
}

void ConnectionTable::mark_returned(const FourTuple& tuple) {
  journal_.is_back(tuple);
  erase_remote(tuple);
}

void ConnectionTable::set_aside(const FourTuple& tuple) {
  erase_remote(tuple);
}

bool ConnectionTable::add_imported(std::uint64_t cookie, const ImportedConnection& connection) {
  if (is_foreign(connection)) journal_.add_imported(cookie, connection);
  return imported_.insert_or_assign(cookie, connection).second;
}

void ConnectionTable::rehome(std::uint64_t cookie) {
  journal_.rehome(cookie);
  ImportedConnection& connection = imported_.at(cookie);
  connection.home = host_;
  connection.home_control = control_;
}

std::optional<ConnectionTable::Ended> ConnectionTable::end_imported(std::uint64_t cookie) {
  const auto node = imported_.extract(cookie);
  if (!node) return std::nullopt;
  const ImportedConnection& connection = node.mapped();
  if (is_foreign(connection)) return Ended{connection, journal_.has_ended(connection, cookie)};
  journal_.rehome(cookie);
  return Ended{connection, 0};
}

ConnectionTable::Ended ConnectionTable::end_remote(const FourTuple& tuple,
                                                   std::uint64_t generation) {
  const RemoteConnection remote = remote_.at(tuple);
  const ImportedConnection was{
      .tuple = tuple,
      .service = remote.service,
      .home = remote.home,
      .home_control = remote.home_control,
      .from = remote.home,
      .from_control = remote.home_control,
      .generation = std::max(generation, remote.generation),
  };
  ends_.add(tuple, was.generation);
  if (is_foreign(was)) return {was, end_forwarded(was)};
  mark_returned(tuple);
  return {was, 0};
}

std::uint64_t ConnectionTable::end_forwarded(const ImportedConnection& connection) {
  erase_remote(connection.tuple);
  return journal_.has_ended(connection, 0);
}

bool ConnectionTable::set_unheard(const FourTuple& tuple, bool unheard) {
  if (!unheard) return unheard_.erase(tuple) > 0;
  return remote_.contains(tuple) && unheard_.insert(tuple).second;
}

void ConnectionTable::add_unexplained_redirect(const FourTuple& tuple, const IpAddress& to) {
  unexplained_[tuple.unmapped()] = to;
}

const IpAddress* ConnectionTable::unexplained_redirect(const FourTuple& tuple) const {
  const auto it = unexplained_.find(tuple.unmapped());
  return it == unexplained_.end() ? nullptr : &it->second;
}

// The peer of a new generation has not been asked yet.
void ConnectionTable::put_remote(const FourTuple& tuple, const RemoteConnection& remote) {
  const auto [it, added] = remote_.try_emplace(tuple, remote);
  if (added) return;
  if (it->second.generation != remote.generation) unheard_.erase(tuple);
  it->second = remote;
}

void ConnectionTable::erase_remote(const FourTuple& tuple) {
  remote_.erase(tuple);
  unheard_.erase(tuple);
}

}  // namespace sockmi::daemon
