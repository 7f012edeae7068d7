#include "cluster/member_certificate.h"

#include <algorithm>
#include <memory>
#include <string_view>

#include <openssl/x509v3.h>

#include "cluster/pem.h"

namespace sockmi::cluster {

using std::chrono::system_clock;

system_clock::time_point time_of(const ASN1_TIME* time) {
  tm parts{};
  if (!ASN1_TIME_to_tm(time, &parts)) return {};
  return system_clock::from_time_t(::timegm(&parts));
}

bool Member::has(const IpAddress& address) const {
  return addresses.empty() || std::ranges::find(addresses, address.unmapped()) != addresses.end();
}

Result<Member> member_of(X509* certificate) {
  Member member;
  char name[256] = {};
  if (X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
                                sizeof name) <= 0)
    return fail(EBADMSG, "invalid certificate: no name");
  member.host = name;
  TRY(check_host_name(member.host));
  const OpenSslPointer<GENERAL_NAMES, GENERAL_NAMES_free> names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  bool named = false;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* each = sk_GENERAL_NAME_value(names.get(), i);
    if (each->type != GEN_DNS && each->type != GEN_IPADD) continue;
    const ASN1_STRING* value = each->type == GEN_DNS ? each->d.dNSName : each->d.iPAddress;
    const ByteView bytes(ASN1_STRING_get0_data(value),
                         static_cast<std::size_t>(ASN1_STRING_length(value)));
    if (each->type == GEN_DNS) {
      named |= std::ranges::equal(bytes, member.host);
    } else {
      TRY_LET(address, IpAddress::from_bytes(bytes));
      member.addresses.push_back(address.unmapped());
    }
  }
  if (!named) {
    return fail(EBADMSG,
                "invalid certificate of {}: its alternative names do not contain this name",
                member.host);
  }
  member.not_before = time_of(X509_get0_notBefore(certificate));
  member.not_after = time_of(X509_get0_notAfter(certificate));
  return member;
}

Result<> check_host_name(const std::string& host) {
  static constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
  if (host.empty() || host.size() > 63 || host.find_first_not_of(kAllowed) != host.npos ||
      host.front() == '-' || host.front() == '.')
    return fail(EINVAL, "invalid host name '{}'", host);
  return {};
}

}  // namespace sockmi::cluster
