// The suites and roles that tests use.
#pragma once

#include <algorithm>
#include <iterator>
#include <string_view>

#include "pair.h"

namespace sockmi::tls::test {

inline const Case kCases[] = {
    {"Tls13Aes128Server", TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", true},
    {"Tls13Aes128Client", TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", false},
    {"Tls13Aes256Server", TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", true},
    {"Tls13Aes256Client", TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", false},
    {"Tls13ChaChaServer", TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", true},
    {"Tls13ChaChaClient", TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", false},
    {"Tls12Aes128Server", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", true},
    {"Tls12Aes128Client", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", false},
    {"Tls12Aes256Server", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", true},
    {"Tls12Aes256Client", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", false},
    {"Tls12ChaChaServer", TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", true},
    {"Tls12ChaChaClient", TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", false},
    {"Tls13CcmServer", TLS1_3_VERSION, "TLS_AES_128_CCM_SHA256", true},
    {"Tls13CcmClient", TLS1_3_VERSION, "TLS_AES_128_CCM_SHA256", false},
    {"Tls13Ccm8Server", TLS1_3_VERSION, "TLS_AES_128_CCM_8_SHA256", true},
    {"Tls13Ccm8Client", TLS1_3_VERSION, "TLS_AES_128_CCM_8_SHA256", false},
    {"Tls12CcmServer", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-CCM", true},
    {"Tls12CcmClient", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-CCM", false},
    {"Tls12Ccm8Server", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-CCM8", true},
    {"Tls12Ccm8Client", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-CCM8", false},
    {"Tls12CbcSha1Server", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA", true},
    {"Tls12CbcSha1Client", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA", false},
    {"Tls12CbcSha256Server", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", true},
    {"Tls12CbcSha256Client", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", false},
    {"Tls12CbcSha384Server", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA384", true},
    {"Tls12CbcSha384Client", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA384", false},
    {"Tls12MacFirstSha1Server", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA", true,
     SSL_OP_NO_ENCRYPT_THEN_MAC},
    {"Tls12MacFirstSha1Client", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA", false,
     SSL_OP_NO_ENCRYPT_THEN_MAC},
    {"Tls12MacFirstSha256Server", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", true,
     SSL_OP_NO_ENCRYPT_THEN_MAC},
    {"Tls12MacFirstSha256Client", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", false,
     SSL_OP_NO_ENCRYPT_THEN_MAC},
    {"Tls12MacFirstSha384Server", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA384", true,
     SSL_OP_NO_ENCRYPT_THEN_MAC},
    {"Tls12MacFirstSha384Client", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-SHA384", false,
     SSL_OP_NO_ENCRYPT_THEN_MAC},
    {"Tls12RsaServer", TLS1_2_VERSION, "AES128-SHA256", true},
    {"Tls12RsaClient", TLS1_2_VERSION, "AES256-GCM-SHA384", false},
    {"Tls12DheServer", TLS1_2_VERSION, "DHE-RSA-AES256-SHA256", true},
    {"Tls12DheClient", TLS1_2_VERSION, "DHE-RSA-AES128-GCM-SHA256", false},
    {"Tls12PskServer", TLS1_2_VERSION, "PSK-AES128-GCM-SHA256", true},
    {"Tls12PskClient", TLS1_2_VERSION, "PSK-CHACHA20-POLY1305", false},
    {"Tls12EcdhePskServer", TLS1_2_VERSION, "ECDHE-PSK-AES256-CBC-SHA384", true},
    {"Tls12RsaPskClient", TLS1_2_VERSION, "RSA-PSK-AES128-CBC-SHA", false},
    {"Tls12DhePskServer", TLS1_2_VERSION, "DHE-PSK-AES128-CCM8", true},
    {"Tls12AnonymousServer", TLS1_2_VERSION, "ADH-AES256-GCM-SHA384", true},
    {"Tls12AnonymousClient", TLS1_2_VERSION, "AECDH-AES128-SHA", false},
    {"Tls12NoExtendedMasterServer", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", true,
     SSL_OP_NO_EXTENDED_MASTER_SECRET},
    {"Tls12NoExtendedMasterClient", TLS1_2_VERSION, "ECDHE-RSA-AES128-SHA", false,
     SSL_OP_NO_EXTENDED_MASTER_SECRET},
};

inline const Case& case_of(std::string_view name) {
  return *std::ranges::find(kCases, name, &Case::name);
}

// One suite for each way to protect records, in each role.
inline const Case kFamilies[] = {
    case_of("Tls13Aes128Server"),        case_of("Tls13Aes256Client"),
    case_of("Tls13ChaChaServer"),        case_of("Tls13CcmClient"),
    case_of("Tls12Aes128Server"),        case_of("Tls12Aes256Client"),
    case_of("Tls12ChaChaClient"),        case_of("Tls12CcmServer"),
    case_of("Tls12CbcSha1Server"),       case_of("Tls12CbcSha384Client"),
    case_of("Tls12MacFirstSha1Client"),  case_of("Tls12MacFirstSha256Server"),
    case_of("Tls12MacFirstSha384Server")};
constexpr auto kName = [](const auto& info) {
  return info.param.name;
};

}  // namespace sockmi::tls::test
