// The states in which an endpoint can be exported: sets of the bits of sockmi/sockmi.h.
#pragma once

#include <sockmi/sockmi.h>

namespace sockmi {

inline constexpr unsigned kSocketStates = SOCKMI_BOUND | SOCKMI_LISTENING | SOCKMI_CONNECTED;
inline constexpr unsigned kTlsStates = SOCKMI_CLIENT_CONNECTED | SOCKMI_SERVER_CONNECTED |
                                       SOCKMI_CLIENT_ESTABLISHED | SOCKMI_SERVER_ESTABLISHED;
inline constexpr unsigned kAllStates = kSocketStates | kTlsStates;

}  // namespace sockmi
