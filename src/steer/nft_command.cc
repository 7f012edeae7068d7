#include "steer/nft_command.h"

#include <memory>

#include <nftables/libnftables.h>

namespace sockmi::steer {

Result<> run_nft(const std::string& commands) {
  const std::unique_ptr<nft_ctx, decltype(&nft_ctx_free)> nft(nft_ctx_new(NFT_CTX_DEFAULT),
                                                              nft_ctx_free);
  if (!nft) return fail(ENOMEM, "cannot use libnftables");
  nft_ctx_buffer_error(nft.get());
  nft_ctx_buffer_output(nft.get());
  if (nft_run_cmd_from_buffer(nft.get(), commands.c_str()) == 0) return {};
  std::string text = nft_ctx_get_error_buffer(nft.get());
  return fail(errno == EPERM ? EPERM : EIO, "cannot change nftables: {}",
              text.substr(0, text.find('\n')));
}

}  // namespace sockmi::steer
