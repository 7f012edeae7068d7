#include "cluster/offer.h"

#include <endian.h>

#include <cstring>

namespace sockmi::cluster {

MigrationId member(const MigrationId& batch, std::uint32_t i) {
  MigrationId id = batch;
  std::uint32_t counter;
  std::memcpy(&counter, &id[12], sizeof counter);
  counter = htobe32(be32toh(counter) + i);
  std::memcpy(&id[12], &counter, sizeof counter);
  return id;
}

}  // namespace sockmi::cluster
