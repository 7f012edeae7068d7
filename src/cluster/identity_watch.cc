#include "cluster/identity_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <csignal>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/log.h"
#include "base/unique_fd.h"

namespace sockmi::cluster {
namespace {

namespace asio = boost::asio;
using Loaded = Result<std::shared_ptr<const Credentials>>;
// The files of one change are written one after another.
constexpr std::chrono::milliseconds kSettle{200};
constexpr std::chrono::hours kDates{1};  // how often dates are checked
// Retry interval if the folder cannot be read or watched: descriptors may be short.
constexpr std::chrono::seconds kAgain{5};

// Receives the kernel's notices (inotify) of changes in a folder.
class Notices {
 public:
  explicit Notices(asio::io_context& io) : descriptor_(io) {}

  // Watches the folder, again on every call: the folder itself may have been replaced.
  // Returns false if it cannot be watched.
  bool watch(const std::filesystem::path& folder) {
    if (!descriptor_.is_open()) {
      unique_fd made(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
      boost::system::error_code error;
      if (made) descriptor_.assign(made.get(), error);
      if (!made || error) return false;
      (void)made.release();
    }
    return ::inotify_add_watch(descriptor_.native_handle(), folder.c_str(),
                               IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE) >= 0;
  }

  asio::awaitable<void> wait(asio::signal_set& hangup, asio::steady_timer& timer) {
    using namespace asio::experimental::awaitable_operators;
    if (descriptor_.is_open()) {
      co_await (
          descriptor_.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable) ||
          hangup.async_wait(asio::use_awaitable) || timer.async_wait(asio::use_awaitable));
    } else {
      co_await (hangup.async_wait(asio::use_awaitable) || timer.async_wait(asio::use_awaitable));
    }
  }

  void take_all() {
    char events[4096];
    while (descriptor_.is_open() &&
           ::read(descriptor_.native_handle(), events, sizeof events) > 0) {
    }
  }

 private:
  asio::posix::stream_descriptor descriptor_;
};

asio::awaitable<Loaded> load(std::filesystem::path folder) {
  co_return Credentials::load(folder);
}

}  // namespace

asio::awaitable<void> keep_current(asio::io_context& io, asio::thread_pool& workers,
                                   Identity identity) {
  Notices notices(io);
  asio::signal_set hangup(io, SIGHUP);
  asio::steady_timer timer(io);
  std::string warned, failed;
  for (bool first = true;; first = false) {
    notices.take_all();
    const bool watched = notices.watch(identity.folder);
    // The folder is also read the first time: it may have changed since it was loaded.
    Loaded loaded = co_await asio::co_spawn(workers, load(identity.folder), asio::use_awaitable);
    const Result<> taken =
        loaded ? identity.replace(*loaded) : Result<>(std::unexpected(loaded.error()));
    const std::string failure = taken ? "" : to_string(taken.error());
    if (taken && (!first || !failed.empty())) log::info("identity_read", {{"host", identity.host}});
    if (!taken && failure != failed) {
      log::error("identity_read_failed",
                 {{"error", failure}, {"action", "the former identity stays in use"}});
    }
    failed = failure;
    if (const std::string warning = identity.now()->warning(); warning != warned) {
      if (!warning.empty()) log::warn("certificate_renewal_due", {{"warning", warning}});
      warned = warning;
    }
    timer.expires_after(watched && taken ? std::chrono::seconds(kDates) : kAgain);
    co_await notices.wait(hangup, timer);
    timer.expires_after(kSettle);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

}  // namespace sockmi::cluster
