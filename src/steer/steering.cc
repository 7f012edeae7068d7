// What is asked of us as changes of elements; see tables.cc for what they do to packets.
#include "steer/steering.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <string_view>

#include "base/log.h"
#include "base/unique_fd.h"
#include "steer/delivery_route.h"
#include "steer/keys.h"
#include "steer/sets.h"
#include "steer/tables.h"

namespace sockmi::steer {
namespace {

// Our tables are one set a network namespace, and so is the name of an abstract Unix socket: who binds it may touch them. It is free again when
// its holder ends, however that happens.
Result<unique_fd> claim_namespace() {
  static constexpr std::string_view kName("\0sockmid", 8);
  unique_fd claim(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::ranges::copy(kName, address.sun_path);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + kName.size());
  if (!claim) return fail_errno("socket");
  if (::bind(claim.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) return fail(errno, "another sockmid serves this network namespace");
  return claim;
}

class NftSteering : public Steering {
 public:
  NftSteering(unique_fd claim, std::unique_ptr<Netlink> netfilter, std::unique_ptr<Netlink> route)
      : claim_(std::move(claim)), netfilter_(std::move(netfilter)), route_(std::move(route)), sets_(*netfilter_) {}
  ~NftSteering() override {
    if (auto gone = remove_tables(); !gone) log::error("event=tables_left error=\"{}\"", to_string(gone.error()));
    if (auto gone = remove_delivery_route(*route_); !gone) log::error("event=route_left error=\"{}\"", to_string(gone.error()));
  }

  Result<> redirect(std::span<const Redirect> redirects) override {
    std::vector<Change> changes;
    for (const auto& [tuple, to, expires_in] : redirects) {
      if (is_v4(tuple.local.ip) != is_v4(to)) return fail(EAFNOSUPPORT, "{} can not be redirected to {}", to_string(tuple), to_string(to));
      changes.push_back({Change::kPut, redirects_of(tuple), {key_of(tuple), bytes_of(to), expires_in}});
    }
    return sets_.apply(changes);
  }
  Result<> remove_redirects(std::span<const FourTuple> tuples) override {
    std::vector<Change> changes;
    for (const FourTuple& tuple : tuples) {
      changes.push_back({Change::kRemove, redirects_of(tuple), {key_of(tuple), {}, {}}});
      changes.push_back({Change::kRemove, coming_of(tuple), {key_of(tuple), {}, {}}});
    }
    return sets_.apply(changes);
  }
  Result<> let_in(const FourTuple& tuple, std::chrono::milliseconds timeout) override {
    const Change change{Change::kPut, coming_of(tuple), {key_of(tuple), {}, timeout}};
    return sets_.apply({&change, 1});
  }
  Result<> keep_out(const FourTuple& tuple) override {
    const Change change{Change::kRemove, coming_of(tuple), {key_of(tuple), {}, {}}};
    return sets_.apply({&change, 1});
  }

  Result<std::vector<Redirect>> redirects() override {
    std::vector<Redirect> out;
    for (const SetName* set : {&kRedirects4, &kRedirects6}) {
      TRY_LET(elements, sets_.list(*set));
      for (const Element& element : elements)
        if (auto to = IpAddress::from_bytes(element.data)) out.push_back({tuple_of(element.key), *to, element.expires_in});
    }
    return out;
  }

  Result<> shelter(const IpAddress& home) override {
    if (guests_[home] == 0) TRY(put_home(home, std::nullopt));
    ++guests_[home];
    return {};
  }
  Result<> unshelter(const IpAddress& home, std::chrono::milliseconds linger) override {
    const auto it = guests_.find(home);
    if (it == guests_.end() || --it->second > 0) return {};
    guests_.erase(it);
    return put_home(home, linger);
  }

 private:
  static const SetName* redirects_of(const FourTuple& tuple) { return is_v4(tuple.local.ip) ? &kRedirects4 : &kRedirects6; }
  static const SetName* coming_of(const FourTuple& tuple) { return is_v4(tuple.local.ip) ? &kComing4 : &kComing6; }

  Result<> put_home(const IpAddress& home, std::optional<std::chrono::milliseconds> linger) {
    const Change change{Change::kPut, is_v4(home) ? &kHomes4 : &kHomes6, {bytes_of(home), {}, linger}};
    return sets_.apply({&change, 1});
  }

  unique_fd claim_;
  std::unique_ptr<Netlink> netfilter_, route_;
  Sets sets_;
  std::map<IpAddress, unsigned> guests_;
};

}  // namespace

Result<std::unique_ptr<Steering>> make_nft_steering(const std::vector<std::string>& interfaces) {
  TRY_LET(claim, claim_namespace());
  TRY_LET(netfilter, Netlink::open(NETLINK_NETFILTER));
  TRY_LET(route, Netlink::open(NETLINK_ROUTE));
  TRY(create_tables(interfaces));
  Netlink& routes = *route;
  auto steering = std::make_unique<NftSteering>(std::move(claim), std::move(netfilter), std::move(route));
  TRY(add_delivery_route(routes, interfaces));
  return steering;
}

Result<> flush() {
  TRY_LET(claim, claim_namespace());
  TRY_LET(route, Netlink::open(NETLINK_ROUTE));
  TRY(remove_tables());
  return remove_delivery_route(*route);
}

Result<> barrier() {
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0) return fail_errno("membarrier");
  return {};
}

}  // namespace sockmi::steer
