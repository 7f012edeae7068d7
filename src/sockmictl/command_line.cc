#include "sockmictl/command_line.h"

#include <cstdio>
#include <cstdlib>
#include <string>

#include <sockmi/version.h>
#include <CLI/CLI.hpp>

#include "base/printable.h"
#include "lib/http_client.h"
#include "sockmictl/commands.h"

namespace sockmi::sockmictl {
namespace {

// Adds a subcommand for each row of the table. The action of the one that is on the
// command line becomes `chosen`: that of a group's member, not the group's own.
void add_commands(CLI::App& app, const Globals& globals, Action& chosen) {
  for (const Command& command : commands()) {
    const std::string typed = command.name;
    const std::size_t space = typed.rfind(' ');
    CLI::App& parent = space == typed.npos ? app : *app.get_subcommand(typed.substr(0, space));
    CLI::App* added = parent.add_subcommand(typed.substr(space + 1), command.about);
    if (!command.setup) {
      added->require_subcommand(1);
      continue;
    }
    // CLI11 calls a member before its group, and takes an option of the group for one of
    // the member.
    added->callback([&chosen, added, action = command.setup(*added, globals)] {
      if (!chosen) {
        chosen = action;
        return;
      }
      for (const CLI::Option* option : added->get_options()) {
        if (option->count() > 0)
          throw CLI::ValidationError(option->get_name(), "it is not an option of this command");
      }
    });
  }
}

// An answer of another form than the daemon's makes the JSON library throw.
Result<> carry_out(const Action& action) {
  try {
    return action();
  } catch (const std::exception& error) {
    return fail(EBADMSG, "unexpected answer from sockmid: {}", error.what());
  }
}

}  // namespace

int run(int argc, const char* const* argv) {
  CLI::App app{"Shows the state of sockmid on this host, and gives it orders.", "sockmictl"};
  app.require_subcommand(1);
  Globals globals;
  app.add_flag("--json", globals.as_json, "print JSON");
  app.add_option_function<std::string>(
      "--socket", [](const std::string& path) { ::setenv("SOCKMID_SOCKET", path.c_str(), 1); },
      "the daemon's socket (default: $SOCKMID_SOCKET, else " + std::string(lib::kDefaultSocket) +
          ")");
  app.set_version_flag("--version", "sockmictl " SOCKMI_VERSION_STRING);
  app.fallthrough();
  Action chosen;
  add_commands(app, globals, chosen);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const auto done = carry_out(chosen);
  if (done) return 0;
  std::fprintf(stderr, "sockmictl: %s\n", printable(to_string(done.error())).c_str());
  return done.error().code == ETIME ? 3 : 1;  // no other command fails with ETIME
}

}  // namespace sockmi::sockmictl
