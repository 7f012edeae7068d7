#include "steer/sets.h"

#include <linux/netfilter/nf_tables.h>

#include <libnftnl/common.h>
#include <libnftnl/set.h>

namespace sockmi::steer {
namespace {

using SetPointer = std::unique_ptr<nftnl_set, decltype(&nftnl_set_free)>;

SetPointer make_set(const SetName& name) {
  SetPointer set(nftnl_set_alloc(), nftnl_set_free);
  nftnl_set_set_str(set.get(), NFTNL_SET_TABLE, name.table);
  nftnl_set_set_str(set.get(), NFTNL_SET_NAME, name.set);
  nftnl_set_set_u32(set.get(), NFTNL_SET_FAMILY, name.family);
  return set;
}

void add_element(nftnl_set* set, const Element& element, bool with_data) {
  nftnl_set_elem* e = nftnl_set_elem_alloc();
  nftnl_set_elem_set(e, NFTNL_SET_ELEM_KEY, element.key.data(), static_cast<std::uint32_t>(element.key.size()));
  if (with_data && !element.data.empty())
    nftnl_set_elem_set(e, NFTNL_SET_ELEM_DATA, element.data.data(), static_cast<std::uint32_t>(element.data.size()));
  if (with_data && element.expires_in) nftnl_set_elem_set_u64(e, NFTNL_SET_ELEM_TIMEOUT, static_cast<std::uint64_t>(element.expires_in->count()));
  nftnl_set_elem_add(set, e);
}

Bytes bytes_of(const nftnl_set_elem* e, std::uint16_t attribute) {
  std::uint32_t size = 0;
  const auto* data = static_cast<const std::uint8_t*>(nftnl_set_elem_get(const_cast<nftnl_set_elem*>(e), attribute, &size));
  return data ? Bytes(data, data + size) : Bytes();
}

}  // namespace

Result<> Sets::apply(const SetName& name, const std::vector<Change>& changes) {
  char buffer[8192];
  mnl_nlmsg_batch* batch = mnl_nlmsg_batch_start(buffer, sizeof buffer);
  nftnl_batch_begin(static_cast<char*>(mnl_nlmsg_batch_current(batch)), netlink_.next_sequence());
  mnl_nlmsg_batch_next(batch);
  for (const Change& change : changes) {
    const bool adding = change.type == NFT_MSG_NEWSETELEM;
    const SetPointer set = make_set(name);
    add_element(set.get(), change.element, adding);
    nlmsghdr* header = nftnl_nlmsg_build_hdr(static_cast<char*>(mnl_nlmsg_batch_current(batch)), change.type, static_cast<std::uint16_t>(name.family),
                                             static_cast<std::uint16_t>((adding ? NLM_F_CREATE : 0) | NLM_F_ACK), netlink_.next_sequence());
    nftnl_set_elems_nlmsg_build_payload(header, set.get());
    mnl_nlmsg_batch_next(batch);
  }
  nftnl_batch_end(static_cast<char*>(mnl_nlmsg_batch_current(batch)), netlink_.next_sequence());
  mnl_nlmsg_batch_next(batch);
  auto done = netlink_.transact(mnl_nlmsg_batch_head(batch), mnl_nlmsg_batch_size(batch), static_cast<unsigned>(changes.size()), name.set);
  mnl_nlmsg_batch_stop(batch);
  return done;
}

// An element that is there can not be changed on kernels before 6.13: it is deleted and added in one transaction. Which of the two is needed
// has to be known beforehand: a transaction that fails makes the kernel wait for a grace period (synchronize_rcu() in its abort), which is
// 8 ms inside the freeze. What we remember is wrong only after an element has expired; then the other way is tried.
Result<> Sets::put(const SetName& set, const Element& element) {
  const std::vector<Change> add = {{NFT_MSG_NEWSETELEM, element}}, replace = {{NFT_MSG_DELSETELEM, element}, {NFT_MSG_NEWSETELEM, element}};
  const bool present = !present_.emplace(set.set, element.key).second;
  auto done = apply(set, present ? replace : add);
  if (!done && (done.error().code == ENOENT || done.error().code == EEXIST || done.error().code == EBUSY)) done = apply(set, present ? add : replace);
  return done;
}

Result<> Sets::remove(const SetName& set, const Bytes& key) {
  if (present_.erase({set.set, key}) == 0) return {};
  const Element element{.key = key, .data = {}, .expires_in = {}};
  auto removed = apply(set, {{NFT_MSG_DELSETELEM, element}});
  if (!removed && removed.error().code == ENOENT) return {};
  return removed;
}

Result<std::vector<Element>> Sets::list(const SetName& name) {
  char buffer[4096];
  const SetPointer ask = make_set(name);
  nlmsghdr* header = nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETSETELEM, static_cast<std::uint16_t>(name.family), NLM_F_DUMP, netlink_.next_sequence());
  nftnl_set_elems_nlmsg_build_payload(header, ask.get());
  const SetPointer answer = make_set(name);
  TRY(netlink_.dump(header, name.set, [&](const nlmsghdr* message) { nftnl_set_elems_nlmsg_parse(message, answer.get()); }));
  std::vector<Element> out;
  const std::unique_ptr<nftnl_set_elems_iter, decltype(&nftnl_set_elems_iter_destroy)> it(nftnl_set_elems_iter_create(answer.get()),
                                                                                         nftnl_set_elems_iter_destroy);
  for (const auto* e = nftnl_set_elems_iter_next(it.get()); e; e = nftnl_set_elems_iter_next(it.get())) {
    Element element{.key = bytes_of(e, NFTNL_SET_ELEM_KEY), .data = bytes_of(e, NFTNL_SET_ELEM_DATA), .expires_in = {}};
    if (nftnl_set_elem_is_set(const_cast<nftnl_set_elem*>(e), NFTNL_SET_ELEM_EXPIRATION))
      element.expires_in = std::chrono::milliseconds(nftnl_set_elem_get_u64(const_cast<nftnl_set_elem*>(e), NFTNL_SET_ELEM_EXPIRATION));
    present_.emplace(name.set, element.key);
    out.push_back(std::move(element));
  }
  return out;
}

}  // namespace sockmi::steer
