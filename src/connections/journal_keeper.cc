#include "connections/journal_keeper.h"

#include <boost/asio/post.hpp>

#include "context/async_event.h"

namespace sockmi::daemon {
namespace {

constexpr milliseconds kCompactionPause{500};

// Shared by the event loop and the thread that waits for the disk.
struct Compaction {
  explicit Compaction(const asio::any_io_executor& executor) : done(executor) {}
  std::filesystem::path path;
  std::string text;
  Result<unique_fd> file = fail(ECANCELED, "not begun");
  Event done;
};

}  // namespace

asio::awaitable<void> keep_journal(World& world) {
  asio::thread_pool disk{1};  // a thread of its own: a slow disk delays nothing else
  for (;;) {
    co_await sleep_for(kCompactionPause);
    world.table.write_again();
    if (!world.table.journal().wants_compaction()) continue;
    auto compaction = std::make_shared<Compaction>(world.io.get_executor());
    compaction->path = world.table.journal().path();
    compaction->text = world.table.begin_compaction();
    asio::post(disk, [compaction, io = &world.io] {
      compaction->file = JournalFile::write_aside(compaction->path, compaction->text);
      asio::post(*io, [compaction] { compaction->done.set(); });
    });
    co_await compaction->done.wait();
    world.table.end_compaction(std::move(compaction->file));
  }
}

}  // namespace sockmi::daemon
