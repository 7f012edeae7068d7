// Executes the operator's orders to export relays, one after the other, in a thread of
// its own: the library's calls block.
//
// A relay is stopped by its worker, is tried once, and goes back to its worker if it
// stays. It remains one of the worker's connections all the time. One whose connections
// are still frozen after the call, because nobody knows the outcome, is held until they
// are not. No exception leaves the thread: what it held then is settled in the same way.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>

#include "proxy/export_relays.h"
#include "proxy/worker.h"

namespace sockmi::proxy {

struct ExportOrder {
  std::uint64_t request = 0;  // to be answered
  RelaySelection which;
  ExportTarget target;
};

class RelayExporter {
 public:
  using Workers = std::vector<std::unique_ptr<Worker>>;

  // Borrows the workers. Starts the thread.
  explicit RelayExporter(const Workers& workers);
  // Waits for the call that is under way. The workers must still be there.
  ~RelayExporter();
  // Executes no further order. Does not wait.
  void begin_stop();

  // From any thread. Returns false if too many orders wait.
  bool add(ExportOrder order);

 private:
  // Shared with the workers, which may answer when this object has gone.
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    bool stopping = false;
  };
  struct Tally {
    std::size_t moved = 0, stayed = 0;
    std::map<int, std::pair<std::size_t, std::string>> errors;
  };
  struct Held {
    Worker* worker;
    std::shared_ptr<StoppedRelay> relay;
  };

  void run();
  bool is_stopping();
  void execute(const ExportOrder& order);
  void answer(const ExportOrder& order, const Tally& tally);
  void export_all(const ExportOrder& order, Tally& tally);
  void export_from(Worker& worker, const Worker::Relays& relays, const ExportTarget& target,
                   Tally& tally);
  void settle_held();
  static bool settle(const Held& held, Fate fate);
  template <class Value, class Begin>
  std::optional<Value> wait_for(Begin begin);

  const Workers& workers_;
  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
  std::deque<ExportOrder> orders_;
  std::vector<Held> held_;  // of the thread alone
  std::thread thread_;
};

}  // namespace sockmi::proxy
