#include "connections/journal_keeper.h"

#include <chrono>
#include <memory>

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include "context/async_event.h"

namespace sockmi::daemon {
namespace {

constexpr std::chrono::milliseconds kCompactionPause{500};

// Shared by the event loop and the thread that waits for the disk.
struct Compaction {
  explicit Compaction(const asio::any_io_executor& executor) : done(executor) {}
  std::filesystem::path path;
  std::string text;
  Result<unique_fd> file = fail(ECANCELED, "compaction of the journal was not begun");
  Event done;
};

}  // namespace

boost::asio::awaitable<void> keep_journal(boost::asio::io_context& io, ConnectionTable& table) {
  asio::thread_pool disk{1};  // a thread of its own: a slow disk delays nothing else
  for (;;) {
    co_await sleep_for(kCompactionPause);
    table.write_again();
    if (!table.journal().wants_compaction()) continue;
    auto compaction = std::make_shared<Compaction>(io.get_executor());
    compaction->path = table.journal().path();
    compaction->text = table.begin_compaction();
    asio::post(disk, [compaction, &io] {
      compaction->file = JournalFile::write_aside(compaction->path, compaction->text);
      asio::post(io, [compaction] { compaction->done.set(); });
    });
    co_await compaction->done.wait();
    table.end_compaction(std::move(compaction->file));
  }
}

}  // namespace sockmi::daemon
