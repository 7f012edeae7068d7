// The event loop: a listener, clients, the daemon's events, signals. One thread, epoll.
#pragma once

#include <netinet/in.h>

#include <array>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <sockmi/appsockmi.h>

#include "connection.h"

namespace httpsd {

struct Options {
  std::string listen, root = ".", cert, key, service = "web", name = "httpsd";
  bool no_listen = false;
};

class Server {
 public:
  explicit Server(Options options) : options_(std::move(options)) {}
  bool start();  // false: the reason was printed on stderr
  int run();     // until SIGTERM or SIGINT

 private:
  // A request to export, from a signal or the operator. It is answered when all its
  // connections have moved, or could not.
  struct ExportRequest {
    std::uint64_t id = 0;  // 0: of a signal, so there is no answer
    int af = AF_UNSPEC;
    std::array<unsigned char, 16> to{};
    unsigned exported = 0, failed = 0;
    std::vector<sockmi_export_answer>* answers = nullptr;  // it becomes one of these
    ~ExportRequest();
  };
  struct Client {
    std::unique_ptr<Connection> connection;
    sockaddr_in local{}, remote{};
    // To be tried again: the client was in the middle of a handshake.
    std::shared_ptr<ExportRequest> request;
  };

  bool make_context();
  bool make_listener();
  void watch(int fd, std::uint32_t events, bool fresh);
  void accept_all();
  void add(std::unique_ptr<Connection> connection);
  void progress(int fd);
  void connect_daemon();
  void read_events();
  void import_all();
  void export_matching(std::span<const sockmi_event> orders);
  // Exports these clients to the host of the first one's request, and forgets those that
  // have moved away.
  void export_together(std::span<const int> which);
  void give_answers();

  Options options_;
  SSL_CTX* ctx_ = nullptr;
  int epoll_ = -1, listener_ = -1, signals_ = -1, timer_ = -1, daemon_ = -1, root_ = -1;
  std::vector<sockmi_export_answer> answers_;  // to be given
  std::map<int, Client> clients_;
  bool stop_ = false;
};

}  // namespace httpsd
