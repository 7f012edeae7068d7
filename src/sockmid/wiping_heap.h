// Wipes memory that the daemon returns to the heap. Linking this file makes operator
// delete do so.
#pragma once

namespace sockmi::sockmid {

// Makes OpenSSL's heap wipe too. Returns false if OpenSSL has allocated memory already.
bool wipe_openssl_heap();

}  // namespace sockmi::sockmid
