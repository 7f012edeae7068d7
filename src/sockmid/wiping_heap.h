// What the daemon gives back to the heap is wiped first: operator delete does so anyway.
#pragma once

namespace sockmi::sockmid {

// OpenSSL's heap too. False: something has asked OpenSSL for memory before.
bool wipe_openssl_heap();

}  // namespace sockmi::sockmid
