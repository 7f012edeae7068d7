// Limits what the daemon holds for local users: sessions, descriptors, bytes.
//
// Each has a limit per user, and a limit for all users except root together. So no user
// can keep another one out, and all users together cannot keep root out.
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
  // `descriptors`: how many this process may have. Half of them are for root, other
  // daemons and endpoints.
  explicit Quotas(std::size_t descriptors);

  // What one session holds. Its amounts are returned when it ends.
  class Share {
   public:
    Share() = default;
    Share(std::shared_ptr<Quotas> quotas, const User& user)
        : quotas_(std::move(quotas)),
          uid_(user.uid),
          free_(user.is_root()) {}
    Share(Share&&) = default;
    Share& operator=(Share&&) = delete;
    ~Share();
    // Sets the amount that the session holds. A smaller amount is always accepted.
    // Errors: EDQUOT if it exceeds the limit of the user, or of all users together.
    Result<> set(Holding what, std::size_t amount);

   private:
    std::shared_ptr<Quotas> quotas_;
    std::uint32_t uid_ = kNoUid;
    bool free_ = false;  // root's amounts are not counted
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
