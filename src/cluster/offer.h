// What an exporter offers to other hosts, and what they answer.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/address.h"
#include "base/error.h"
#include "base/user.h"

namespace sockmi::cluster {

using MigrationId = std::array<std::uint8_t, 16>;

// Returns the id of the i-th endpoint of a batch. The last four bytes are a counter that
// continues from the first endpoint's.
MigrationId member(const MigrationId& batch, std::uint32_t i);

struct Offer {       // REQUEST
  MigrationId id{};  // of the first endpoint
  std::string service;
  User owner;              // the exporting user
  std::uint8_t state = 0;  // a SOCKMI_* state bit
  FourTuple tuple;
  IpAddress home;           // the endpoint's own address
  std::uint64_t size = 0;   // approximate size of the image in bytes
  IpAddress target;         // any(): any host that accepts
  std::uint32_t count = 1;  // endpoints in the batch; `tuple` is one of them
  bool unclaimed = false;   // no application of the exporting host imports it
};
struct OfferReply {  // positive RESPONSE
  std::uint32_t waiting_importers = 0, free_slots = 0, load_percent = 0;
};
struct SelectedHost {  // the result of the exporter's search
  std::string host;
  SocketAddress control_address;  // where its control channel listens
  IpAddress other_address;        // address of the other family; any(): none
  // Returns the address to which packets for `local` are redirected: one of the same
  // family. any() if the host has none.
  const IpAddress& address_for(const IpAddress& local) const {
    return control_address.ip.family == local.unmapped().family ? control_address.ip
                                                                : other_address;
  }
};
struct HostAnswer {  // one host's answer to a survey
  SelectedHost host;
  OfferReply reply;     // if it accepts
  Result<> acceptable;  // or why it does not
};

}  // namespace sockmi::cluster
