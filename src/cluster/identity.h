// Who we are in the cluster: a name that stays, and credentials that may be read anew.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/error.h"
#include "cluster/authority.h"
#include "cluster/credentials.h"

namespace sockmi::cluster {

// Copies share what is in force.
class Identity {
 public:
  static Result<Identity> load(const std::filesystem::path& folder);

  std::string host;  // the CN of host.crt
  std::filesystem::path folder;

  // Those in force now; whoever keeps them goes on with them.
  std::shared_ptr<const Credentials> now() const { return *current_; }
  // EINVAL: they are another host's.
  Result<> replace(std::shared_ptr<const Credentials> credentials) const;

 private:
  std::shared_ptr<std::shared_ptr<const Credentials>> current_;
};

}  // namespace sockmi::cluster
