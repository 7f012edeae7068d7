// This host's identity in the cluster: its name, which does not change, and its
// credentials, which may be read again.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/error.h"
#include "cluster/authority.h"
#include "cluster/credentials.h"

namespace sockmi::cluster {

// Copies share the credentials in force: replace() on one of them changes all.
class Identity {
 public:
  static Result<Identity> load(const std::filesystem::path& folder);

  std::string host;  // the CN of host.crt
  std::filesystem::path folder;

  // Returns the credentials in force. A caller that keeps the pointer continues with the
  // old ones after replace().
  std::shared_ptr<const Credentials> now() const { return *current_; }
  // Puts new credentials in force. Errors: EINVAL if they are another host's.
  Result<> replace(std::shared_ptr<const Credentials> credentials) const;

 private:
  std::shared_ptr<std::shared_ptr<const Credentials>> current_;
};

}  // namespace sockmi::cluster
