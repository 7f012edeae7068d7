// The table of subcommands. A row is a subcommand: run() reads the command line by it,
// `--help` prints it, and tools/check-manual compares it with man/sockmictl.1.
#include "sockmictl/commands.h"

namespace sockmi::sockmictl {

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      {"status", "show the daemon's status: lists, counters, warnings",
       show("/v1/status", nullptr, {})},
      {"connections", "list the imported, ready, moved and forwarded connections",
       show("/v1/connections", "connections",
            {{"LOCAL", "local"},
             {"PEER", "peer"},
             {"SERVICE", "service"},
             {"ROLE", "role"},
             {"HOME", "home"},
             {"HOLDER", "holder"},
             {"HEARD", "heard"}})},
      {"hosts", "list the other hosts",
       show("/v1/hosts", "hosts",
            {{"HOST", "host"},
             {"ADDRESS", "address"},
             {"HEARD MS AGO", "last_heard_ms_ago"},
             {"CONNECTED", "connected"}})},
      {"migrations", "list the last migrations, the newest last",
       show("/v1/migrations", "migrations",
            {{"PEER", "peer"},
             {"SERVICE", "service"},
             {"FROM", "from"},
             {"TO", "to"},
             {"RESULT", "result"},
             {"FREEZE US", "freeze_us"},
             {"ERROR", "error"}})},
      {"export", "ask applications to export their connections, and wait until they have answered",
       export_connections},
      {"takeover",
       "give an address of this host to another host, with all connections and listeners at it "
       "(root)",
       take_over},
      {"forget", "give up a host that never comes back (root)", forget_host},
      {"doubt", "list the endpoints in doubt, or decide one (root)",
       show("/v1/doubt", "doubts",
            {{"ID", "id"},
             {"KIND", "kind"},
             {"LOCAL", "local"},
             {"PEER", "peer"},
             {"OTHER HOST", "host"}})},
      {"doubt commit", "decide that the endpoint lives at its importer", commit_endpoint},
      {"doubt discard", "decide that the endpoint lives at its exporter", discard_endpoint},
      {"flush",
       "remove all rules of sockmi from this host's kernel and from the network namespaces of its "
       "containers (the daemon must not run)",
       flush_rules},
      {"cluster", "create a cluster, and the identities of its hosts", nullptr},
      {"cluster init", "create a cluster's authority in a new folder; keep ca.key off the hosts",
       init_cluster},
      {"cluster issue", "create a host's identity: a folder to be copied to that host", issue_host},
      {"cluster renew",
       "write a new key and certificate into a host's folder, or into a copy of that folder",
       renew_host},
      {"cluster revoke",
       "revoke all certificates that were issued for a host so far; copy crl.pem to every host",
       revoke_host},
      {"cluster rekey",
       "create a new cluster key and keep the former one in force; copy cluster.key to every host",
       rekey_cluster},
      {"cluster rotate",
       "create a new authority and keep the former one in force; copy ca.crt to every host, and "
       "only then renew the hosts",
       rotate_authority},
      {"cluster retire",
       "end the change that 'rotate' began: the former authority is no longer in force; copy "
       "ca.crt and crl.pem to every host",
       retire_authority},
      {"fault",
       "make a step of the next migrations fail (root; daemons with 'testing = true' only)",
       arm_fault},
  };
  return table;
}

}  // namespace sockmi::sockmictl
