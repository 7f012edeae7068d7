// The table of sockmictl's subcommands.
#pragma once

#include <functional>
#include <vector>

#include "base/error.h"

namespace CLI {
class App;
}

namespace sockmi::sockmictl {

struct Globals {  // options that every subcommand may have
  bool as_json = false;
};

// What a subcommand does once the command line has been read.
using Action = std::function<Result<>()>;
// Adds the operands and options of a subcommand to `app` and returns its action. Both
// arguments outlive the action.
using Setup = std::function<Action(CLI::App& app, const Globals&)>;

struct Command {
  const char* name;   // as it is typed: "status", "cluster init". A group precedes its members
  const char* about;  // for --help
  Setup setup;        // none: a group, which does nothing by itself
};

const std::vector<Command>& commands();

struct Column {
  const char* title;
  const char* key;
};

// Returns a subcommand that shows what the daemon has at `path`. `list`: the key of the
// array in the answer; null: the answer itself.
Setup show(const char* path, const char* list, std::vector<Column> columns);

// See commands/export.cc.
Action export_connections(CLI::App& app, const Globals&);
// See commands/drain.cc.
Action drain_host(CLI::App& app, const Globals&);
Action show_drain(CLI::App& app, const Globals&);
Action wait_for_drain(CLI::App& app, const Globals&);
Action stop_drain(CLI::App& app, const Globals&);
Action undrain_host(CLI::App& app, const Globals&);
// See commands/orders.cc.
Action take_over(CLI::App& app, const Globals&);
Action forget_host(CLI::App& app, const Globals&);
Action commit_endpoint(CLI::App& app, const Globals&);
Action discard_endpoint(CLI::App& app, const Globals&);
Action arm_fault(CLI::App& app, const Globals&);
// See commands/flush.cc.
Action flush_rules(CLI::App& app, const Globals&);
// See commands/cluster.cc.
Action init_cluster(CLI::App& app, const Globals&);
Action issue_host(CLI::App& app, const Globals&);
Action renew_host(CLI::App& app, const Globals&);
Action revoke_host(CLI::App& app, const Globals&);
Action rekey_cluster(CLI::App& app, const Globals&);
Action rotate_authority(CLI::App& app, const Globals&);
Action retire_authority(CLI::App& app, const Globals&);

}  // namespace sockmi::sockmictl
