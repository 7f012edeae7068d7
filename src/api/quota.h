// What the daemon holds for local users: sessions, descriptors, bytes. Each has a limit by user, and one for all but root together, so that no user keeps
// another out, and all together not root.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "base/error.h"
#include "base/user.h"

namespace sockmi::api {

enum class Holding : std::size_t { Sessions, Descriptors, Bytes };
inline constexpr std::size_t kHoldings = 3;

class Quotas : public std::enable_shared_from_this<Quotas> {
 public:
  using Amounts = std::array<std::size_t, kHoldings>;
  // `descriptors`: how many this process may have. Half of them are for root, other daemons and endpoints.
  explicit Quotas(std::size_t descriptors);

  // What one session holds; given back when it ends.
  class Share {
   public:
    Share() = default;
    Share(std::shared_ptr<Quotas> quotas, const User& user) : quotas_(std::move(quotas)), uid_(user.uid), free_(user.is_root()) {}
    Share(Share&&) = default;
    Share& operator=(Share&&) = delete;
    ~Share();
    // ENOBUFS: the user's limit, or that of all. Less always goes.
    Result<> set(Holding what, std::size_t amount);

   private:
    std::shared_ptr<Quotas> quotas_;
    std::uint32_t uid_ = kNoUid;
    bool free_ = false;  // root's is counted by nobody
    Amounts holds_{};
  };
  Share share_for(const User& user) { return {shared_from_this(), user}; }
  const Amounts& held() const { return all_; }

 private:
  Result<> change(std::uint32_t uid, Holding what, std::size_t from, std::size_t to);
  Amounts most_, most_of_all_;
  Amounts all_{};
  std::map<std::uint32_t, Amounts> by_user_;
};

}  // namespace sockmi::api
