// The network of a test: two hosts, between which connections move, and a client.
//
//     hostA 10.9.1.2 ------ 10.9.1.1 client 10.9.2.1 ------ 10.9.2.2 hostB
//                               10.9.0.1
//
// Each connection has a server address of its own, 10.9.100.N. It is host A's. Host B
// delivers packets for it to its sockets, as a host with foreign connections does. The
// client's route to the address decides which host gets the packets.
#pragma once

#include <netinet/in.h>

#include <string>
#include <vector>

#include "base/address.h"
#include "base/unique_fd.h"

namespace sockmi::daemon {

// Set by main(): the process is alone with its children, in namespaces of its own.
inline bool is_sandboxed = false;

inline constexpr int kServers = 2;  // 10.9.100.1 and the next one

class Network {
 public:
  enum Place { A, B };
  // The calling thread stays in the client's network namespace. Returns null if this user
  // may not make namespaces; `why` says so.
  static Network* get(std::string& why);

  static IpAddress address_of(Place place);
  static IpAddress server(int number);
  void enter(Place place) const;  // for good
  // Sends the packets for this server's address to that host from now on.
  void route(int server, Place to);
  // Returns a connection from the client to the server at host A: first the server's end.
  std::pair<unique_fd, unique_fd> connect(int server);
  // Returns a new listener at host A, at the server's address, and its address.
  std::pair<unique_fd, SocketAddress> listen(int server);
  // Returns the client's end of a connection. Throws if nothing accepts it.
  unique_fd connect_to(const SocketAddress& to);

 private:
  Network();
  unique_fd client_, hosts_[2];
  std::vector<unique_fd> listeners_;
  std::vector<Place> routes_;
  std::uint16_t next_port_ = 10'000;
};

}  // namespace sockmi::daemon
