// A host for tests: owns what Services refers to. Its kernel is a fake.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "connections/connections.h"
#include "fake_steering.h"
#include "migration/exports.h"
#include "unit/temporary_folder.h"

namespace sockmi::daemon {

// A folder that ends with the test.
using TestFolder = sockmi::test::TemporaryFolder;

struct TestHost {
  TestHost(asio::io_context& io, Settings configured, const std::filesystem::path& folder,
           std::unique_ptr<FakeSteering> fake = std::make_unique<FakeSteering>(),
           const std::string& boot = boot_id())
      : settings(std::move(configured)),
        fake_steering(*fake),
        steering(std::move(fake)),
        services{.io = io,
                 .workers = workers,
                 .settings = settings,
                 .policy = policy,
                 .counters = counters,
                 .history = history,
                 .in_doubt = in_doubt,
                 .low_latency = low_latency,
                 .stopping = stopping,
                 .steering = &steering},
        connections(services, Journal::open(folder, boot).value()) {}

  // Other hosts answer what `channel` says.
  void use(std::unique_ptr<cluster::ControlChannel> channel) {
    control = std::move(channel);
    services.control = control.get();
  }

  Settings settings;
  Policy policy{std::map<std::string, ServiceRule>{{"web", {}}}};
  Counters counters;
  History history;
  Doubts in_doubt;
  LowLatency low_latency;
  bool stopping = false;
  asio::thread_pool workers{1};
  FakeSteering& fake_steering;
  steer::NamespacedSteering steering;
  std::unique_ptr<cluster::ControlChannel> control;
  Services services;
  Connections connections;
  ImportQueue import_queue{{}, policy};
  Exports exports{connections, import_queue};
};

}  // namespace sockmi::daemon
