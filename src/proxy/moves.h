// The proxy as an application of sockmid: registers for the daemon's services of its
// relays, imports what arrives, and passes orders to export on.
//
// The library's calls block, so a thread of its own waits for the daemon's events and
// imports, and another one exports. Without a daemon nothing moves; registering is tried
// again every second, and the proxy works as always. No exception leaves the thread.
//
// What is not imported when a service is not wanted any more, the daemon sends back.
#pragma once

#include "proxy/import_relays.h"
#include "proxy/relay_exporter.h"

namespace sockmi::proxy {

class Moves {
 public:
  // Takes a relay that was imported. From any thread.
  using Adopt = std::function<void(const RelayService&, Relay::Parts)>;

  // Borrows the workers. Starts the threads.
  Moves(const RelayExporter::Workers& workers, Adopt adopt);
  // Ends all registrations, and waits for the calls that are under way: five seconds for
  // the daemon's answer, or as long as an export may take.
  ~Moves();

  // Registers for these services, and for no other ones. From any thread.
  void use(std::vector<RelayService> services);

 private:
  struct Registration {
    RelayService service;
    int events = -1;      // owned; -1: the daemon does not have it
    bool failed = false;  // the last attempt to register
  };

  void run();
  bool update();
  void run_once();
  void pause();
  bool has_news();
  bool is_wanted(const std::string& service);
  void open(Registration& registration);
  void close(Registration& registration);
  std::vector<Registration*> wait(bool is_complete);
  void handle(Registration& registration);
  void import_all(const RelayService& service);
  void import_all(const RelayService& service, const TlsClient* backend);
  void pass_on(const RelayService& service, const sockmi_event& event);

  Adopt adopt_;
  RelayExporter exporter_;
  unique_fd wake_;
  std::mutex mutex_;
  bool stopping_ = false;
  std::vector<RelayService> wanted_;
  bool is_new_ = false;                                // run() has not seen `wanted_` yet
  std::map<std::string, Registration> registrations_;  // of the thread alone
  std::thread thread_;
};

}  // namespace sockmi::proxy
