#include "cluster/identity.h"

namespace sockmi::cluster {

Result<Identity> Identity::load(const std::filesystem::path& folder) {
  TRY_LET(credentials, Credentials::load(folder));
  Identity identity;
  identity.host = credentials->own().host;
  identity.folder = folder;
  identity.current_ = std::make_shared<std::shared_ptr<const Credentials>>(std::move(credentials));
  return identity;
}

Result<> Identity::replace(std::shared_ptr<const Credentials> credentials) const {
  if (credentials->own().host != host) {
    return fail(EINVAL, "cannot replace the identity: {} is that of {}, not of {}", folder.string(),
                credentials->own().host, host);
  }
  *current_ = std::move(credentials);
  return {};
}

}  // namespace sockmi::cluster
