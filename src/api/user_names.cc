#include "api/user_names.h"

#include <pwd.h>

#include <thread>
#include <vector>

#include <fmt/core.h>
#include <boost/asio/post.hpp>

#include "base/log.h"

namespace sockmi::api {
namespace {

constexpr std::chrono::seconds kNameServiceTimeout{2}, kNameLifetime{60};
constexpr std::size_t kMostThreads = 8, kMostKnown = 4096;

std::string unnamed(std::uint32_t uid) {
  return fmt::format("uid:{}", uid);
}

// Blocks for as long as the name service does.
std::string look_up(std::uint32_t uid) {
  for (std::vector<char> buffer(1024); buffer.size() <= (1u << 20);
       buffer.resize(4 * buffer.size())) {
    passwd entry{}, *found = nullptr;
    const int error = ::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
    if (error == ERANGE) continue;
    const std::string name = error == 0 && found ? found->pw_name : "";
    // Only user 0 is root, whatever a directory contains.
    return name.empty() || name == "root" || name == "*" || name.starts_with("uid:") ? unnamed(uid)
                                                                                     : name;
  }
  return unnamed(uid);
}

}  // namespace

UserNames::~UserNames() {
  std::lock_guard lock(mailbox_->mutex);
  mailbox_->names = nullptr;
}

bool UserNames::begin(std::uint32_t uid) {
  if (asked_.size() >= kMostThreads) return false;
  // A look-up that hangs cannot be ended, so its thread is never joined.
  try {
    std::thread([uid, mailbox = mailbox_] {
      std::string name = look_up(uid);
      std::lock_guard lock(mailbox->mutex);
      if (!mailbox->names) return;
      asio::post(mailbox->names->io_, [mailbox, uid, name = std::move(name)] {
        if (mailbox->names) mailbox->names->learn(uid, name);
      });
    }).detach();
  } catch (const std::system_error&) {  // no more threads available
    return false;
  }
  asked_[uid];
  return true;
}

void UserNames::learn(std::uint32_t uid, std::string name) {
  if (known_.size() >= kMostKnown) known_.clear();
  known_[uid] = {std::move(name), Clock::now() + kNameLifetime};
  const auto waiting = asked_.extract(uid);
  if (!waiting.empty()) {
    for (const auto& each : waiting.mapped())
      each->set();
  }
}

asio::awaitable<std::string> UserNames::of(std::uint32_t uid) {
  if (const auto it = known_.find(uid); it != known_.end() && Clock::now() < it->second.until)
    co_return it->second.text;
  if (!asked_.contains(uid) && !begin(uid)) co_return unnamed(uid);
  auto answered = std::make_shared<daemon::Event>(io_.get_executor());
  asked_[uid].push_back(answered);
  const bool in_time = co_await answered->wait(Clock::now() + kNameServiceTimeout);
  if (const auto it = asked_.find(uid); it != asked_.end()) it->second.remove(answered);
  if (const auto it = known_.find(uid); in_time && it != known_.end()) co_return it->second.text;
  log::warn("user_lookup_timed_out", {{"uid", uid}});
  co_return unnamed(uid);
}

}  // namespace sockmi::api
