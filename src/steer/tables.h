// The two tables: set up once, as text that nft(8) shows again. What changes with connections are elements of their maps and sets.
#pragma once

#include <netinet/in.h>

#include <linux/netfilter.h>

#include <string>
#include <vector>

#include "steer/sets.h"

namespace sockmi::steer {

inline constexpr SetName kRedirects4{NFPROTO_NETDEV, "sockmi", "redir4"};  // (peer, port, home, port) -> importer
inline constexpr SetName kRedirects6{NFPROTO_NETDEV, "sockmi", "redir6"};
inline constexpr SetName kComing4{NFPROTO_NETDEV, "sockmi", "coming4"};    // the same key: connections that are coming home
inline constexpr SetName kComing6{NFPROTO_NETDEV, "sockmi", "coming6"};
inline constexpr SetName kHomes4{NFPROTO_INET, "sockmi", "homes4"};        // addresses of other hosts whose connections live here
inline constexpr SetName kHomes6{NFPROTO_INET, "sockmi", "homes6"};

// `interfaces`: by which the peers' packets come in. Tables of an earlier daemon are replaced.
Result<> create_tables(const std::vector<std::string>& interfaces);
Result<> remove_tables();

}  // namespace sockmi::steer
