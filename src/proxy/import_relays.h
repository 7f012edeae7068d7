// Imports relays that another host has exported.
#pragma once

#include "proxy/relay.h"
#include "proxy/relay_service.h"

namespace sockmi::proxy {

struct ImportedRelays {
  std::vector<Relay::Parts> relays;
  std::vector<Error> errors;  // what was imported and is no relay has ended with a reset
  bool more = false;          // there may be others
};

// Imports what waits at the daemon, up to some relays. `backend`: relays whose connection
// to the backend has TLS, for which this one makes the SSLs; nullptr: those without. Does
// not wait for others, but may block for some seconds.
ImportedRelays import_relays(const RelayService& service, const TlsClient* backend);

}  // namespace sockmi::proxy
