// A Steering without a kernel: the test keeps the rules, which outlive the host's
// process.
#pragma once

#include <functional>
#include <sstream>

#include "unit/daemon/fake_steering.h"

namespace sockmi::daemon {

inline FourTuple tuple_from(const std::string& text) {
  const auto arrow = text.find("<-");
  return {*SocketAddress::parse(text.substr(0, arrow)),
          SocketAddress::parse(text.substr(arrow + 2)).value_or(SocketAddress())};
}

class ReportedSteering : public FakeSteering {
 public:
  // `report` is called with each operation: its name, then its words, each preceded by a
  // blank. Returns what the rules answer.
  using Report = std::function<std::string(const std::string& operation)>;
  explicit ReportedSteering(Report report) : report_(std::move(report)) {}

  Result<> redirect(std::span<const steer::Redirect> redirects) override {
    std::string text = "redirect";
    for (const auto& each : redirects)
      text += fmt::format(" {} {} {}", to_string(each.tuple), to_string(each.to),
                          lifetime(each.expires_in));
    return done(text);
  }
  Result<> remove_redirects(std::span<const FourTuple> tuples) override {
    std::string text = "remove_redirects";
    for (const auto& tuple : tuples)
      text += " " + to_string(tuple);
    return done(text);
  }
  Result<> begin_return(const FourTuple& tuple, std::chrono::milliseconds timeout) override {
    return done(fmt::format("begin_return {} {}", to_string(tuple), timeout.count()));
  }
  Result<> cancel_return(const FourTuple& tuple) override {
    return done("cancel_return " + to_string(tuple));
  }
  Result<> track(const FourTuple& tuple, bool) override {
    return done("track " + to_string(tuple));
  }
  Result<> untrack(const FourTuple& tuple, std::chrono::milliseconds) override {
    return done("untrack " + to_string(tuple));
  }
  Result<> redirect_port(const SocketAddress& local, const IpAddress& to,
                         std::span<const FourTuple>) override {
    return done(fmt::format("redirect_port {} {}", to_string(local), to_string(to)));
  }
  Result<> remove_port_redirect(const SocketAddress& local) override {
    return done("remove_port_redirect " + to_string(local));
  }
  Result<std::vector<SocketAddress>> redirected_ports() override {
    std::vector<SocketAddress> out;
    std::istringstream words(report_("redirected_ports"));
    for (std::string port; words >> port;)
      out.push_back(*SocketAddress::parse(port));
    return out;
  }
  Result<> block_port(const SocketAddress& local, std::chrono::milliseconds timeout) override {
    return done(fmt::format("block_port {} {}", to_string(local), timeout.count()));
  }
  Result<> unblock_port(const SocketAddress& local) override {
    return done("unblock_port " + to_string(local));
  }
  Result<> add_foreign_addresses(std::span<const steer::ForeignAddress> addresses) override {
    std::string text = "add_foreign_address";
    for (const auto& each : addresses)
      text += fmt::format(" {} {}", to_string(each.connection), lifetime(each.expires_in));
    return done(text);
  }
  Result<std::vector<steer::Redirect>> redirects() override {
    std::vector<steer::Redirect> out;
    std::istringstream words(report_("redirects"));
    std::string tuple, to;
    for (std::int64_t left; words >> tuple >> to >> left;)
      out.push_back({tuple_from(tuple), *IpAddress::parse(to), lifetime(left)});
    return out;
  }
  Result<std::vector<steer::ForeignAddress>> foreign_addresses() override {
    std::vector<steer::ForeignAddress> out;
    std::istringstream words(report_("foreign"));
    std::string tuple;
    for (std::int64_t left; words >> tuple >> left;)
      out.push_back({tuple_from(tuple), lifetime(left)});
    return out;
  }

 private:
  static std::int64_t lifetime(std::optional<std::chrono::milliseconds> time) {
    return time ? time->count() : -1;
  }
  static std::optional<std::chrono::milliseconds> lifetime(std::int64_t left) {
    return left < 0 ? std::nullopt : std::optional(std::chrono::milliseconds(left));
  }
  Result<> done(const std::string& operation) {
    (void)report_(operation);
    return {};
  }
  Report report_;
};

}  // namespace sockmi::daemon
