#include "api/quota.h"

#include <algorithm>

namespace sockmi::api {
namespace {

constexpr const char* kNames[kHoldings] = {"sessions", "descriptors in requests",
                                           "bytes in requests and answers"};
constexpr Quotas::Amounts kMost = {1024, 4096, 64u << 20}, kMostOfAll = {16384, 65536, 256u << 20};

}  // namespace

Quotas::Quotas(std::size_t descriptors) : most_(kMost), most_of_all_(kMostOfAll) {
  // A session needs a descriptor, too.
  for (const auto what : {std::size_t(Holding::Sessions), std::size_t(Holding::Descriptors)}) {
    most_of_all_[what] = std::min(most_of_all_[what], descriptors / 4);
    most_[what] = std::min(most_[what], descriptors / 8);
  }
}

Result<> Quotas::change(std::uint32_t uid, Holding what, std::size_t from, std::size_t to) {
  const auto kind = static_cast<std::size_t>(what);
  const auto it = by_user_.find(uid);
  Amounts theirs = it == by_user_.end() ? Amounts{} : it->second;
  if (to > from && theirs[kind] - from + to > most_[kind]) {
    return fail(EDQUOT, "user {} has {} {}, and {} is the limit", uid, theirs[kind], kNames[kind],
                most_[kind]);
  }
  if (to > from && all_[kind] - from + to > most_of_all_[kind]) {
    return fail(EDQUOT, "all users but root have {} {} together, and {} is the limit", all_[kind],
                kNames[kind], most_of_all_[kind]);
  }
  theirs[kind] = theirs[kind] - from + to;
  all_[kind] = all_[kind] - from + to;
  if (theirs == Amounts{}) {
    by_user_.erase(uid);
  } else {
    by_user_[uid] = theirs;
  }
  return {};
}

Result<> Quotas::Share::set(Holding what, std::size_t amount) {
  if (!quotas_ || free_) return {};
  auto& held = holds_[static_cast<std::size_t>(what)];
  if (held == amount) return {};
  auto changed = quotas_->change(uid_, what, held, amount);
  if (changed) held = amount;
  return changed;
}

Quotas::Share::~Share() {
  if (!quotas_) return;
  for (std::size_t kind = 0; kind < kHoldings; ++kind)
    (void)set(static_cast<Holding>(kind), 0);
}

}  // namespace sockmi::api
