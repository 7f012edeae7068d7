// sockmictl, the operator's tool. It uses the daemon's HTTP API, except for the cluster
// commands, which need no daemon. Exit codes: 0 success, 1 the daemon refused or some
// connections could not be exported, 2 wrong usage.
#include <cstdio>

#include <sockmi/version.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "cluster/authority.h"
#include "lib/daemon_requests.h"
#include "lib/http_client.h"
#include "sockmictl/foreign_process.h"
#include "steer/namespaced_steering.h"
#include "steer/syn_filter.h"

using namespace sockmi;
using nlohmann::json;

namespace {

struct Column {
  const char* title;
  const char* key;
};

struct View {
  const char* name;
  const char* about;
  const char* path;
  const char* list;  // key of the array in the answer; null: the answer itself
  std::vector<Column> columns;
};

const View kViews[] = {
    {"status", "the daemon: lists, counters", "/v1/status", nullptr, {}},
    {"connections",
     "connections under the daemon's care",
     "/v1/connections",
     "connections",
     {{"LOCAL", "local"},
      {"PEER", "peer"},
      {"SERVICE", "service"},
      {"ROLE", "role"},
      {"HOME", "home"},
      {"AT", "at"},
      {"HEARD", "heard"}}},
    {"hosts",
     "the other hosts",
     "/v1/hosts",
     "hosts",
     {{"HOST", "host"},
      {"ADDRESS", "address"},
      {"HEARD MS AGO", "last_heard_ms_ago"},
      {"CONNECTED", "connected"}}},
    {"migrations",
     "what was moved, newest last",
     "/v1/migrations",
     "migrations",
     {{"PEER", "peer"},
      {"SERVICE", "service"},
      {"FROM", "from"},
      {"TO", "to"},
      {"RESULT", "result"},
      {"FREEZE US", "freeze_us"},
      {"ERROR", "error"}}},
};

std::string cell(const json& value) {
  return value.is_null() ? "-" : value.is_string() ? value.get<std::string>() : value.dump();
}

void print_table(const json& rows, const std::vector<Column>& columns) {
  std::vector<std::size_t> widths;
  for (const Column& column : columns) {
    std::size_t width = std::string_view(column.title).size();
    for (const auto& row : rows)
      width = std::max(width, cell(row.value(column.key, json())).size());
    widths.push_back(width);
  }
  for (std::size_t i = 0; i < columns.size(); ++i)
    fmt::print("{:<{}}  ", columns[i].title, widths[i]);
  fmt::print("\n");
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < columns.size(); ++i)
      fmt::print("{:<{}}  ", cell(row.value(columns[i].key, json())), widths[i]);
    fmt::print("\n");
  }
}

void print_tree(const json& value, const std::string& prefix = "") {
  for (const auto& [key, each] : value.items()) {
    const std::string name = prefix.empty() ? key : prefix + "." + key;
    if (each.is_object())
      print_tree(each, name);
    else
      fmt::print("{:<28} {}\n", name, cell(each));
  }
}

// Timeout for applications to export their connections; the daemon waits a minute for
// them.
constexpr std::chrono::seconds kApplications{70};
constexpr std::chrono::minutes kTakeover{10};  // timeout to move everything at an address

Result<json> ask(const char* method, const std::string& path, const std::string& body = "",
                 std::chrono::seconds patience = lib::kAnswerTime) {
  const lib::Deadline until = lib::Clock::now() + patience;
  TRY_LET(client, lib::Client::connect(until));
  TRY_LET(reply,
          client.call(method, path,
                      {reinterpret_cast<const std::uint8_t*>(body.data()), body.size()}, until));
  return json::parse(reply.body.begin(), reply.body.end());
}

// Gets a view's data. Long lists are read in parts.
Result<json> ask_for(const View& view) {
  if (!view.list) return ask("GET", view.path);
  json all = json::array();
  for (;;) {
    TRY_LET(answer, ask("GET", fmt::format("{}?offset={}&limit=1000", view.path, all.size())));
    const json part = answer.value(view.list, json::array());
    all.insert(all.end(), part.begin(), part.end());
    if (part.empty() || all.size() >= answer.value("total", all.size()))
      return json{{view.list, std::move(all)}};
  }
}

Result<> show(const View& view, bool as_json) {
  TRY_LET(answer, ask_for(view));
  if (as_json)
    fmt::print("{}\n", answer.dump(2));
  else if (view.list)
    print_table(answer[view.list], view.columns);
  else
    print_tree(answer);
  return {};
}

Result<> request_export(const json& wish, bool as_json) {
  TRY_LET(answer, ask("POST", "/v1/requests", wish.dump(), kApplications));
  if (as_json)
    fmt::print("{}\n", answer.dump());
  else
    fmt::print("{} exported, {} failed, by {} of {} applications\n", cell(answer["exported"]),
               cell(answer["failed"]), cell(answer["answered"]), cell(answer["applications"]));
  if (answer["answered"] != answer["applications"])
    return fail(ETIMEDOUT, "not every application answered: those of {}",
                answer.value("unanswered", json::array()).dump());
  if (answer["failed"] != 0)
    return fail(EIO, "{} connections could not be exported; see 'sockmictl migrations'",
                answer["failed"].dump());
  return {};
}

Result<IpAddress> address_of(const std::string& host) {
  if (host.empty()) return IpAddress{};
  if (auto ip = IpAddress::parse(host)) return ip;
  TRY_LET(answer, ask("GET", "/v1/hosts"));
  for (const auto& each : answer["hosts"])
    if (each["host"] == host) return IpAddress::parse(each["address"].get<std::string>());
  return fail(EHOSTUNREACH, "host '{}' is not known here", host);
}

// Milliseconds: the maximum time for which the process is stopped.
constexpr int kStandsStill = 10'000;

// Moves a socket of a process that does not use sockmi.
Result<> export_foreign(pid_t pid, int fd, const json& wish) {
  TRY_LET(to, address_of(wish.value("to", "")));
  TRY_LET(daemon, lib::Client::connect(lib::soon()));
  if (daemon.peer_pid() == pid) return fail(EINVAL, "process {} is the daemon itself", pid);
  const sockmictl::SignalsHeld held;  // must outlive `process`
  TRY_LET(process, sockmictl::ForeignProcess::hold(pid));
  TRY_LET(socket, process.duplicate(fd));
  const std::string service = wish.value("service", "default");
  const sockmi_export_options options{
      .service = service.c_str(), .payload = nullptr, .payload_len = 0, .timeout = kStandsStill};
  TRY(lib::export_endpoint(socket.get(), SOCKMI_CONNECTED, to.family, to.bytes.data(), {},
                           &options));
  fmt::print("exported descriptor {} of process {}\n", fd, pid);
  std::fflush(stdout);
  return {};
}

Result<> take_over(const json& wish, bool as_json) {
  TRY_LET(answer, ask("POST", "/v1/takeovers", wish.dump(), kTakeover));
  if (as_json)
    fmt::print("{}\n", answer.dump());
  else
    fmt::print("{} is an address of {} now: {} connections moved, {} lost\n",
               cell(answer["address"]), cell(answer["host"]), cell(answer["moved"]),
               answer["lost"].size());
  return {};
}

Result<> forget_host(const std::string& host, bool as_json) {
  TRY_LET(answer, ask("POST", "/v1/hosts/forget", json{{"host", host}}.dump()));
  if (as_json)
    fmt::print("{}\n", answer.dump());
  else
    fmt::print(
        "{} is forgotten: {} ends and {} moves that it was to hear of, {} connections that it "
        "held\n",
        host, cell(answer["pending_ends"]), cell(answer["forwarded"]), cell(answer["held"]));
  return {};
}

const View kDoubts{
    "doubt",
    "",
    "/v1/doubt",
    "doubts",
    {{"ID", "id"}, {"KIND", "kind"}, {"LOCAL", "local"}, {"PEER", "peer"}, {"OTHER HOST", "host"}}};

Result<> decide(const std::string& id, const char* how) {
  const auto answer = ask("POST", "/v1/doubt", json{{"id", id}, {"decide", how}}.dump());
  return answer ? Result<>() : Result<>(std::unexpected(answer.error()));
}

// Removes all rules, including those left by a dead daemon's takeover, and those it left
// in the network namespaces of containers.
Result<> flush() {
  TRY(steer::flush());
  TRY(steer::remove_syn_filters());
  TRY_LET(closed, steer::flush_others());
  if (closed > 0)
    std::fprintf(stderr,
                 "sockmictl: %zu other network namespaces could not be looked into (wants "
                 "CAP_SYS_ADMIN): what may be left in them stays\n",
                 closed);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Looks at a sockmid, and tells it what to do.", "sockmictl"};
  app.require_subcommand(1);
  bool as_json = false;
  app.add_flag("--json", as_json, "print JSON");
  app.add_option_function<std::string>(
      "--socket", [](const std::string& path) { ::setenv("SOCKMID_SOCKET", path.c_str(), 1); },
      "the daemon's socket (default: $SOCKMID_SOCKET, or " + std::string(lib::kDefaultSocket) +
          ")");
  app.set_version_flag("--version", "sockmictl " SOCKMI_VERSION_STRING);
  app.fallthrough();
  std::function<Result<>()> action;

  for (const View& view : kViews)
    app.add_subcommand(view.name, view.about)->callback([&] {
      action = [&] {
        return show(view, as_json);
      };
    });

  json wish = json::object();
  auto* exports = app.add_subcommand(
      "export", "ask applications to export their connections, and wait until they have");
  const std::pair<const char*, const char*> wishes[] = {
      {"--service", "whose connections"},
      {"--to", "the host that shall take them, by name or address (default: any)"},
      {"--local", "only those with this local ADDRESS[:PORT]"},
      {"--peer", "only those with this peer ADDRESS[:PORT]"}};
  for (const auto& [option, about] : wishes)
    exports->add_option_function<std::string>(
        option, [&wish, key = option + 2](const std::string& text) { wish[key] = text; }, about);
  pid_t pid = 0;
  int descriptor = -1;
  auto* of_process = exports
                         ->add_option("--pid", pid,
                                      "instead: a socket of this process, which need not "
                                      "cooperate; you must be allowed to trace it")
                         ->excludes("--local")
                         ->excludes("--peer");
  auto* of_descriptor =
      exports->add_option("--fd", descriptor, "the socket's number in that process")
          ->needs(of_process);
  of_process->needs(of_descriptor);
  exports->callback([&] {
    action = [&] {
      return pid != 0 ? export_foreign(pid, descriptor, wish) : request_export(wish, as_json);
    };
  });

  json takeover = json::object();
  auto* takeovers = app.add_subcommand(
      "takeover",
      "give an address of this host to another, with all connections and listeners that are at it");
  for (const auto& [option, key, about] :
       {std::tuple("ADDRESS", "address", "a service address"),
        std::tuple("--to", "to", "the host, by name or address")})
    takeovers
        ->add_option_function<std::string>(
            option, [&takeover, key](const std::string& text) { takeover[key] = text; }, about)
        ->required();
  takeovers->add_flag_callback(
      "--force", [&] { takeover["force"] = true; },
      "even if connections are left that no application exports: they end");
  takeovers->callback([&] {
    action = [&] {
      return take_over(takeover, as_json);
    };
  });

  std::string gone;
  auto* forget = app.add_subcommand(
      "forget", "give up a host that never comes back: what waits for its word, and what it held");
  forget->add_option("HOST", gone, "its name")->required();
  forget->callback([&] {
    action = [&] {
      return forget_host(gone, as_json);
    };
  });
  auto* doubt = app.add_subcommand("doubt",
                                   "endpoints of moves that a dead host or daemon has left "
                                   "undecided: lists them, or decides one (root)");
  std::string doubtful;
  doubt->callback([&] {
    if (!action)
      action = [&] {
        return show(kDoubts, as_json);
      };
  });
  for (const auto& [name, about] : {std::pair("commit", "it lives at its importer"),
                                    std::pair("discard", "it lives at its exporter")}) {
    auto* decision = doubt->add_subcommand(name, about);
    decision->add_option("ID", doubtful, "as listed")->required();
    decision->callback([&, name] {
      action = [&, name] {
        return decide(doubtful, name);
      };
    });
  }

  app.add_subcommand("flush",
                     "remove all rules of sockmi from this host's kernel, and of its containers "
                     "(the daemon must not run)")
      ->callback([&] { action = flush; });

  auto* cluster = app.add_subcommand("cluster", "make a cluster, and its hosts' identities")
                      ->require_subcommand(1);
  std::string folder, host, from, out;
  auto* init = cluster->add_subcommand(
      "init", "make a cluster's CA in a new folder; keep ca.key off the hosts");
  init->add_option("DIR", folder)->required();
  init->callback([&] {
    action = [&] {
      return cluster::init_cluster(folder);
    };
  });
  auto* issue = cluster->add_subcommand(
      "issue", "make a host's identity: a folder to be copied to that host");
  issue->add_option("HOST", host)->required();
  issue->add_option("--cluster", from, "the cluster's folder")->required();
  issue->add_option("--out", out, "the host's folder, new")->required();
  std::vector<std::string> addresses;
  cluster::HostOptions options;
  const auto with_addresses = [&](auto then) -> Result<> {
    for (const std::string& text : addresses) {
      TRY_LET(address, IpAddress::parse(text));
      options.addresses.push_back(address);
    }
    return then();
  };
  const char* kAddress =
      "an address of the host: it is believed at these only (default: at any); may be repeated";
  issue->add_option("--address", addresses, kAddress);
  issue->add_option("--days", options.days, "until the certificate expires")
      ->check(CLI::Range(1, 3650))
      ->capture_default_str();
  issue->callback([&] {
    action = [&] {
      return with_addresses([&] { return cluster::issue_host(from, host, out, options); });
    };
  });
  auto* renew = cluster->add_subcommand("renew",
                                        "a new key and certificate for a host that has one, in a "
                                        "copy of its folder or in the folder itself");
  renew->add_option("DIR", out, "the host's folder")->required();
  renew->add_option("--cluster", from, "the cluster's folder")->required();
  renew->add_option("--address", addresses, "other addresses than so far; may be repeated");
  renew->add_option("--days", options.days, "until the certificate expires")
      ->check(CLI::Range(1, 3650))
      ->capture_default_str();
  renew->callback([&] {
    action = [&] {
      return with_addresses([&] { return cluster::renew_host(from, out, options); });
    };
  });
  auto* revoke = cluster->add_subcommand(
      "revoke",
      "no certificate that a host was issued so far counts any more; copy crl.pem to every host");
  revoke->add_option("HOST", host, "its name, or a file with its certificate")->required();
  revoke->add_option("--cluster", from, "the cluster's folder")->required();
  revoke->callback([&] {
    action = [&]() -> Result<> {
      TRY_LET(count, cluster::revoke_host(from, host));
      fmt::print(
          "{} certificates of {} are revoked: copy {}/crl.pem into the identity folder of every "
          "host\n",
          count, host, from);
      return {};
    };
  });
  auto* rekey = cluster->add_subcommand(
      "rekey", "a new cluster key beside the former one; copy cluster.key to every host");
  rekey->add_option("--cluster", from, "the cluster's folder")->required();
  rekey->callback([&] {
    action = [&]() -> Result<> {
      TRY(cluster::rekey_cluster(from));
      fmt::print("copy {}/cluster.key into the identity folder of every host, in any order\n",
                 from);
      return {};
    };
  });

  auto* rotate = cluster->add_subcommand("rotate",
                                         "a new authority beside the former one; copy ca.crt to "
                                         "every host, and only then renew the hosts");
  rotate->add_option("--cluster", from, "the cluster's folder")->required();
  rotate->callback([&] {
    action = [&]() -> Result<> {
      TRY(cluster::rotate_authority(from));
      fmt::print(
          "copy {}/ca.crt into the identity folder of every host; then renew every host, and end "
          "with 'cluster retire'\n",
          from);
      return {};
    };
  });
  auto* retire = cluster->add_subcommand("retire",
                                         "the former authority counts no more, nor what it has "
                                         "issued; copy ca.crt and crl.pem to every host");
  retire->add_option("--cluster", from, "the cluster's folder")->required();
  retire->callback([&] {
    action = [&]() -> Result<> {
      TRY(cluster::retire_authority(from));
      fmt::print(
          "copy {0}/ca.crt, and {0}/crl.pem if there is one, into the identity folder of every "
          "host\n",
          from);
      return {};
    };
  });

  std::string point;
  unsigned count = 1;
  auto* fault = app.add_subcommand(
      "fault", "make a step of the next migrations fail (daemons with 'testing = true' only)");
  fault->add_option("NAME", point)->required();
  fault->add_option("COUNT", count);
  fault->callback([&] {
    action = [&]() -> Result<> {
      auto answer =
          ask("POST", "/v1/testing/faults", json{{"name", point}, {"count", count}}.dump());
      return answer ? Result<>() : Result<>(std::unexpected(answer.error()));
    };
  });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const auto done = action();
  if (done) return 0;
  std::fprintf(stderr, "sockmictl: %s\n", to_string(done.error()).c_str());
  return 1;
}
