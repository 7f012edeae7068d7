// Builds one netlink request, and reads the attributes of an answer.
#pragma once

#include <cstdint>

#include <libmnl/libmnl.h>

#include "base/address.h"
#include "net/netlink.h"

namespace sockmi::net {

// A request of at most 1024 bytes. `Body` is the structure that follows the header in
// requests of this type (rtmsg, ifaddrmsg, ...).
template <class Body>
class NetlinkRequest {
 public:
  // `flags`: in addition to NLM_F_REQUEST.
  NetlinkRequest(Netlink& netlink, int type, int flags) : netlink_(netlink) {
    header_->nlmsg_type = static_cast<std::uint16_t>(type);
    header_->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    header_->nlmsg_seq = netlink.next_sequence();
    body_ = static_cast<Body*>(mnl_nlmsg_put_extra_header(header_, sizeof(Body)));
  }
  NetlinkRequest(const NetlinkRequest&) = delete;

  nlmsghdr* header() const { return header_; }
  Body* operator->() const { return body_; }
  void add(std::uint16_t type, const IpAddress& ip) {
    mnl_attr_put(header_, type, ip.size(), ip.bytes.data());
  }
  void add(std::uint16_t type, std::uint32_t value) { mnl_attr_put_u32(header_, type, value); }

  // Sends a request that has NLM_F_ACK, and waits for the acknowledgement. `what`: for
  // the error's text.
  Result<> send(const char* what) {
    return netlink_.transact(header_, header_->nlmsg_len, 1, what);
  }
  // Calls `each` for each message of the answer.
  Result<> ask(const char* what, const std::function<void(const nlmsghdr*)>& each) {
    return netlink_.dump(header_, what, each);
  }

 private:
  Netlink& netlink_;
  alignas(nlmsghdr) char buffer_[1024] = {};
  nlmsghdr* header_ = mnl_nlmsg_put_header(buffer_);
  Body* body_;
};

// Calls `each` for the attributes that follow a `Body` in the message.
template <class Body, class Each>
void for_each_attribute(const nlmsghdr* message, Each each) {
  const auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(message));
  for (auto* attribute =
           static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, sizeof(Body)));
       mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)));
       attribute = mnl_attr_next(attribute))
    each(attribute);
}

inline ByteView bytes_of(const nlattr* attribute) {
  return {static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute)),
          mnl_attr_get_payload_len(attribute)};
}

}  // namespace sockmi::net
