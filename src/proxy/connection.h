// Serves an accepted connection: connects it with a backend, and has it relayed.
#pragma once

#include <boost/asio/awaitable.hpp>

#include "proxy/worker.h"

namespace sockmi::proxy {

// Ends when the connection is relayed, or could not be. Runs in the worker's thread.
boost::asio::awaitable<void> serve(Worker& worker, Accepted accepted, Counted counted);

// A relay that another host has had.
struct ImportedRelay {
  std::shared_ptr<const ListenerPlan> listener;
  std::shared_ptr<const ServicePlan> service;
  StoppedRelay relay;
};

// Continues it. It counts as a connection of its listener, client and backend, also if
// they have as many as they may. In the worker's thread, by Worker::add().
void continue_imported(Worker& worker, ImportedRelay imported, Counted counted, bool access_log);

}  // namespace sockmi::proxy
