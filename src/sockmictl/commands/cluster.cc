// Manages the authority of a cluster and the identities of its hosts. Needs no daemon.
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/address.h"
#include "cluster/authority.h"
#include "sockmictl/commands.h"

namespace sockmi::sockmictl {
namespace {

struct HostOptions {
  std::string name, cluster_folder, host_folder;
  std::vector<std::string> addresses;
  cluster::HostOptions options;

  Result<> parse_addresses() {
    for (const std::string& text : addresses) {
      TRY_LET(address, IpAddress::parse(text));
      options.addresses.push_back(address);
    }
    return {};
  }
};

void add_cluster_folder(CLI::App& app, std::string& folder) {
  app.add_option("--cluster", folder, "the cluster's folder")->required();
}

void add_certificate_options(CLI::App& app, HostOptions& host, const char* about_addresses) {
  add_cluster_folder(app, host.cluster_folder);
  app.add_option("--address", host.addresses, about_addresses);
  app.add_option("--days", host.options.days, "days until the certificate expires")
      ->check(CLI::Range(1, 3650))
      ->capture_default_str();
}

// A change of the whole cluster; afterwards the operator has to copy files to the hosts.
// `next`: what to do then; {0} is the cluster's folder.
Action change_cluster(CLI::App& app, Result<> (*change)(const std::filesystem::path&),
                      const char* next) {
  const auto folder = std::make_shared<std::string>();
  add_cluster_folder(app, *folder);
  return [folder, change, next]() -> Result<> {
    TRY(change(*folder));
    fmt::print(fmt::runtime(next), *folder);
    return {};
  };
}

}  // namespace

Action init_cluster(CLI::App& app, const Globals&) {
  const auto folder = std::make_shared<std::string>();
  app.add_option("DIR", *folder, "the cluster's folder, new")->required();
  return [folder] {
    return cluster::init_cluster(*folder);
  };
}

Action issue_host(CLI::App& app, const Globals&) {
  const auto host = std::make_shared<HostOptions>();
  app.add_option("HOST", host->name, "the name of the host")->required();
  app.add_option("--out", host->host_folder, "the host's folder, new")->required();
  add_certificate_options(app, *host,
                          "an address of the host: other hosts accept it only at these addresses "
                          "(default: at any); may be repeated");
  return [host]() -> Result<> {
    TRY(host->parse_addresses());
    return cluster::issue_host(host->cluster_folder, host->name, host->host_folder, host->options);
  };
}

Action renew_host(CLI::App& app, const Globals&) {
  const auto host = std::make_shared<HostOptions>();
  app.add_option("DIR", host->host_folder, "the host's folder")->required();
  add_certificate_options(app, *host,
                          "an address of the host, instead of those that it has so far; may be "
                          "repeated");
  return [host]() -> Result<> {
    TRY(host->parse_addresses());
    return cluster::renew_host(host->cluster_folder, host->host_folder, host->options);
  };
}

Action revoke_host(CLI::App& app, const Globals&) {
  struct Revoked {
    std::string host, folder;
  };
  const auto revoked = std::make_shared<Revoked>();
  app.add_option("HOST", revoked->host, "the name of the host, or a file with a certificate")
      ->required();
  add_cluster_folder(app, revoked->folder);
  return [revoked]() -> Result<> {
    TRY_LET(count, cluster::revoke_host(revoked->folder, revoked->host));
    fmt::print(
        "{} certificates of {} are revoked: copy {}/crl.pem into the identity folder of every "
        "host\n",
        count, revoked->host, revoked->folder);
    return {};
  };
}

Action rekey_cluster(CLI::App& app, const Globals&) {
  return change_cluster(app, cluster::rekey_cluster,
                        "copy {0}/cluster.key into the identity folder of every host, in any "
                        "order\n");
}

Action rotate_authority(CLI::App& app, const Globals&) {
  return change_cluster(app, cluster::rotate_authority,
                        "copy {0}/ca.crt into the identity folder of every host; then renew every "
                        "host, and end with 'cluster retire'\n");
}

Action retire_authority(CLI::App& app, const Globals&) {
  return change_cluster(
      app, cluster::retire_authority,
      "copy {0}/ca.crt, and {0}/crl.pem if there is one, into the identity folder "
      "of every host\n");
}

}  // namespace sockmi::sockmictl
