// What every part of the daemon may use. It owns nothing.
#pragma once

#include <cerrno>
#include <cstdint>
#include <functional>
#include <map>

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include "cluster/cluster.h"
#include "context/counters.h"
#include "context/history.h"
#include "context/in_doubt.h"
#include "context/low_latency.h"
#include "context/policy.h"
#include "context/settings.h"
#include "net/sock_diag.h"
#include "steer/namespaced_steering.h"

namespace sockmi::daemon {

namespace asio = boost::asio;

// True if the kernel has answered that no such socket exists. Another error of
// find_socket() (EMFILE, for example) says nothing about the socket, and must not end its
// connection.
inline bool is_absent(const Error& error) {
  return error.code == ENOENT;
}

struct Services {
  asio::io_context& io;
  asio::thread_pool& workers;  // for calls that block
  const Settings& settings;
  const Policy& policy;
  Counters& counters;
  History& history;
  Doubts& in_doubt;
  LowLatency& low_latency;
  const bool& stopping;  // the daemon is stopping: it begins nothing new

  // Set when the daemon has opened them, in this order.
  steer::NamespacedSteering* steering = nullptr;
  net::SocketEnds* ends = nullptr;
  cluster::ControlChannel* control = nullptr;
  cluster::Discovery* discovery = nullptr;

  // These look at our own network namespace; tests replace them.
  std::function<Result<net::TcpSocket>(const FourTuple&)> find_socket = net::find_socket;
  std::function<Result<std::map<std::uint64_t, net::TcpSocket>>()> all_sockets = net::all_sockets;
};

}  // namespace sockmi::daemon
