// A fake Steering: it records the redirects that it is asked for, and does nothing else.
#pragma once

#include <map>

#include "steer/steering.h"

namespace sockmi::daemon {

class FakeSteering : public steer::Steering {
 public:
  Result<> redirect(std::span<const steer::Redirect> redirects) override {
    for (const auto& each : redirects)
      redirected[each.tuple] = each;
    return {};
  }
  Result<> remove_redirects(std::span<const FourTuple> tuples) override {
    for (const auto& tuple : tuples)
      redirected.erase(tuple);
    return {};
  }
  Result<std::vector<steer::Redirect>> redirects() override {
    std::vector<steer::Redirect> all;
    for (const auto& [tuple, each] : redirected)
      all.push_back(each);
    return all;
  }
  Result<> begin_return(const FourTuple&, std::chrono::milliseconds) override { return {}; }
  Result<> cancel_return(const FourTuple&) override { return {}; }
  Result<> track(const FourTuple&, bool) override { return {}; }
  Result<> untrack(const FourTuple&, std::chrono::milliseconds) override { return {}; }
  Result<> redirect_port(const SocketAddress&, const IpAddress&,
                         std::span<const FourTuple>) override {
    return {};
  }
  Result<> remove_port_redirect(const SocketAddress&) override { return {}; }
  Result<std::vector<SocketAddress>> redirected_ports() override {
    return std::vector<SocketAddress>();
  }
  Result<> block_port(const SocketAddress&, std::chrono::milliseconds) override { return {}; }
  Result<> unblock_port(const SocketAddress&) override { return {}; }
  Result<> add_foreign_addresses(std::span<const steer::ForeignAddress>) override { return {}; }
  Result<std::vector<steer::ForeignAddress>> foreign_addresses() override {
    return std::vector<steer::ForeignAddress>();
  }
  Result<bool> is_routed(const IpAddress&) override { return false; }
  Result<> rewrite_destination(std::span<const FourTuple> tuples, const IpAddress& own) override {
    for (const auto& tuple : tuples)
      rewritten_to[tuple] = own;
    return {};
  }
  Result<> stop_rewriting(std::span<const FourTuple>, const IpAddress&,
                          std::chrono::milliseconds) override {
    return {};
  }
  Result<> rewrite_port(const SocketAddress&, const IpAddress&) override { return {}; }
  Result<> stop_rewriting_port(const SocketAddress&, const IpAddress&) override { return {}; }
  Result<std::vector<steer::RewrittenDestination>> rewritten_destinations() override {
    return std::vector<steer::RewrittenDestination>();
  }
  void keep(bool) override {}
  std::map<FourTuple, steer::Redirect> redirected;
  std::map<FourTuple, IpAddress> rewritten_to;
};

}  // namespace sockmi::daemon
