// Transactions that change elements, and the memory of what the sets contain.
//
// On kernels before 6.13 an existing element cannot be changed: it is deleted and added
// in one transaction. Whether a deletion is needed must be known beforehand, because a
// transaction that fails makes the kernel wait for a grace period (synchronize_rcu() in
// its abort path), which takes 8 ms inside the freeze. So we remember which elements we
// have put into the sets and when they expire.
//
// The memory can be wrong in two cases: an element expires at this moment, or somebody
// else has changed the set with nft(8). Then the kernel refuses the transaction. We read
// the sets, put back what is missing, and repeat the transaction.
#include "steer/nft_sets.h"

#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <map>
#include <set>

#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/set.h>

namespace sockmi::steer {
namespace {

constexpr std::size_t kElementsAMessage = 400;  // an attribute's length has 16 bits
constexpr std::size_t kElementSize = 256;       // bytes at most, to delete an element and add it
constexpr std::size_t kTransactionSize = 1024;  // bytes, without elements
constexpr std::chrono::milliseconds kExpiring{50};  // the kernel's clock may differ from ours

using SetPointer = std::unique_ptr<nftnl_set, decltype(&nftnl_set_free)>;

SetPointer make_set(const SetName& name) {
  SetPointer set(nftnl_set_alloc(), nftnl_set_free);
  nftnl_set_set_str(set.get(), NFTNL_SET_TABLE, name.table.c_str());
  nftnl_set_set_str(set.get(), NFTNL_SET_NAME, name.set.c_str());
  nftnl_set_set_u32(set.get(), NFTNL_SET_FAMILY, name.family);
  return set;
}

void add_element(nftnl_set* set, const Element& element, bool whole) {
  nftnl_set_elem* e = nftnl_set_elem_alloc();
  nftnl_set_elem_set(e, NFTNL_SET_ELEM_KEY, element.key.data(),
                     static_cast<std::uint32_t>(element.key.size()));
  if (whole && !element.data.empty()) {
    nftnl_set_elem_set(e, NFTNL_SET_ELEM_DATA, element.data.data(),
                       static_cast<std::uint32_t>(element.data.size()));
  }
  if (whole && element.expires_in) {
    nftnl_set_elem_set_u64(e, NFTNL_SET_ELEM_TIMEOUT,
                           static_cast<std::uint64_t>(element.expires_in->count()));
  }
  nftnl_set_elem_add(set, e);
}

Bytes attribute_of(const nftnl_set_elem* e, std::uint16_t attribute) {
  std::uint32_t size = 0;
  const auto* data = static_cast<const std::uint8_t*>(
      nftnl_set_elem_get(const_cast<nftnl_set_elem*>(e), attribute, &size));
  return data ? Bytes(data, data + size) : Bytes();
}

// The messages of one transaction, each with elements of one set.
class Batch {
 public:
  Batch(net::Netlink& netlink, std::size_t elements)
      : netlink_(netlink),
        buffer_(kTransactionSize + elements * kElementSize + MNL_SOCKET_BUFFER_SIZE) {
    nftnl_batch_begin(at(), netlink_.next_sequence());
    close();
  }
  void add(std::uint16_t type, const SetName& name, std::span<const Element* const> elements) {
    const bool adding = type == NFT_MSG_NEWSETELEM;
    for (; !elements.empty();
         elements = elements.subspan(std::min(elements.size(), kElementsAMessage))) {
      const SetPointer set = make_set(name);
      for (const Element* element : elements.first(std::min(elements.size(), kElementsAMessage)))
        add_element(set.get(), *element, adding);
      auto* header =
          nftnl_nlmsg_build_hdr(at(), type, static_cast<std::uint16_t>(name.family),
                                static_cast<std::uint16_t>((adding ? NLM_F_CREATE : 0) | NLM_F_ACK),
                                netlink_.next_sequence());
      nftnl_set_elems_nlmsg_build_payload(header, set.get());
      close();
      ++messages_;
      what_ = name.set.c_str();
    }
  }
  Result<> send() {
    if (messages_ == 0) return {};
    nftnl_batch_end(at(), netlink_.next_sequence());
    close();
    return netlink_.transact(buffer_.data(), used_, messages_, what_);
  }

 private:
  char* at() { return buffer_.data() + used_; }
  void close() { used_ += MNL_ALIGN(reinterpret_cast<const nlmsghdr*>(at())->nlmsg_len); }
  net::Netlink& netlink_;
  std::vector<char> buffer_;
  std::size_t used_ = 0;
  unsigned messages_ = 0;
  const char* what_ = "";
};

}  // namespace

Result<> Sets::apply(std::span<const Change> changes) {
  const std::size_t most =
      std::max<std::size_t>(1, (netlink_.capacity() - kTransactionSize) / kElementSize);
  std::vector<Change> undo;
  while (!changes.empty()) {
    const auto now = changes.first(std::min(most, changes.size()));
    changes = changes.subspan(now.size());
    if (auto done = transact(now, changes.empty() ? nullptr : &undo); !done) {
      for (std::span<const Change> rest(undo); !rest.empty();
           rest = rest.subspan(std::min(most, rest.size())))
        (void)transact(rest.first(std::min(most, rest.size())), nullptr);
      return done;
    }
  }
  return {};
}

Result<> Sets::transact(std::span<const Change> changes, std::vector<Change>* undo) {
  std::set<const SetName*> sets;
  for (const Change& change : changes)
    sets.insert(change.set);
  for (const SetName* set : sets)
    TRY(know(*set));
  auto done = send(changes);
  if (!done &&
      (done.error().code == ENOENT || done.error().code == EEXIST || done.error().code == EBUSY)) {
    // The elements that are not changed now: what we remember of them stays true, so they
    // are put back.
    std::vector<Change> gone;
    for (const SetName* set : sets) {
      TRY_LET(those, track_namespace(*set));
      std::ranges::move(those, std::back_inserter(gone));
    }
    std::set<std::pair<const SetName*, Bytes>> asked;
    for (const Change& change : changes)
      asked.emplace(change.set, change.element.key);
    std::erase_if(gone, [&](const Change& each) {
      return each.what == Change::What::Remove || asked.contains({each.set, each.element.key});
    });
    TRY(put_back(gone));
    done = send(changes);
  }
  if (!done) return done;
  if (undo) {
    for (const Change& change : changes)
      undo->push_back(inverse(change));
  }
  remember(changes);
  return {};
}

Result<> Sets::send(std::span<const Change> changes) {
  std::map<const SetName*, std::vector<const Element*>> deleted, added;
  for (const Change& change : changes) {
    if (known(*change.set, change.element.key)) deleted[change.set].push_back(&change.element);
    if (change.what == Change::What::Put) added[change.set].push_back(&change.element);
  }
  Batch batch(netlink_, changes.size());
  for (const auto& [set, elements] : deleted)
    batch.add(NFT_MSG_DELSETELEM, *set, elements);
  for (const auto& [set, elements] : added)
    batch.add(NFT_MSG_NEWSETELEM, *set, elements);
  return batch.send();
}

const Sets::Known* Sets::known(const SetName& set, const Bytes& key) const {
  const Contents& contents = known_.at(&set);
  const auto it = contents.find(key);
  return it != contents.end() && Clock::now() < it->second.until ? &it->second : nullptr;
}

Result<std::optional<Bytes>> Sets::find(const SetName& set, const Bytes& key) {
  TRY(know(set));
  const Known* found = known(set, key);
  return found ? std::optional(found->data) : std::nullopt;
}

Change Sets::inverse(const Change& change) const {
  const Known* old = known(*change.set, change.element.key);
  if (!old) return {Change::What::Remove, change.set, {change.element.key, {}, {}}};
  std::optional<std::chrono::milliseconds> left;
  if (old->until != Clock::time_point::max())
    left = std::chrono::ceil<std::chrono::milliseconds>(old->until - Clock::now());
  return {Change::What::Put, change.set, {change.element.key, old->data, left}};
}

void Sets::remember(std::span<const Change> changes) {
  const auto now = Clock::now();
  for (const auto& [what, set, element] : changes) {
    if (what == Change::What::Put) {
      known_[set][element.key] = {
          element.data, element.expires_in ? now + *element.expires_in : Clock::time_point::max()};
    } else {
      known_[set].erase(element.key);
    }
  }
  // Removes expired elements from the memory whenever it has doubled in size.
  std::size_t size = 0;
  for (const auto& [set, contents] : known_)
    size += contents.size();
  if (size < sweep_at_) return;
  size = 0;
  for (auto& [set, contents] : known_) {
    std::erase_if(contents, [&](const auto& entry) { return entry.second.until <= now; });
    size += contents.size();
  }
  sweep_at_ = std::max<std::size_t>(1024, 2 * size);
}

Result<> Sets::put_back(std::span<const Change> changes) {
  const std::size_t most =
      std::max<std::size_t>(1, (netlink_.capacity() - kTransactionSize) / kElementSize);
  Result<> done;
  for (; !changes.empty(); changes = changes.subspan(std::min(most, changes.size()))) {
    const auto now = changes.first(std::min(most, changes.size()));
    if (done) done = send(now);
    remember(now);
  }
  return done;
}

Result<> Sets::know(const SetName& set) {
  if (!known_.contains(&set)) TRY(track_namespace(set));
  return {};
}

Result<std::size_t> Sets::restore() {
  std::vector<const SetName*> sets;
  sets.reserve(known_.size());
  for (const auto& [set, contents] : known_)
    sets.push_back(set);
  std::size_t count = 0;
  for (const SetName* set : sets) {
    TRY_LET(gone, track_namespace(*set));
    TRY(put_back(gone));
    count += gone.size();
  }
  return count;
}

Result<std::vector<Change>> Sets::track_namespace(const SetName& set) {
  TRY_LET(elements, list(set));
  const auto now = Clock::now();
  Contents there;
  for (Element& element : elements) {
    there[element.key] = {std::move(element.data), element.expires_in ? now + *element.expires_in
                                                                      : Clock::time_point::max()};
  }
  std::vector<Change> changes;
  Contents& contents = known_[&set];
  const auto lasts = [&](const Known& known) {
    return known.until > now + kExpiring;
  };
  const auto is_same = [](const Known& a, const Known& b) {
    return a.data == b.data &&
           (a.until == Clock::time_point::max()) == (b.until == Clock::time_point::max());
  };
  for (const auto& [key, known] : contents) {
    const auto found = there.find(key);
    if (set.removed_by_rules || !lasts(known) ||
        (found != there.end() && is_same(found->second, known)))
      continue;
    std::optional<std::chrono::milliseconds> left;
    if (known.until != Clock::time_point::max())
      left = std::chrono::duration_cast<std::chrono::milliseconds>(known.until - now);
    changes.push_back({Change::What::Put, &set, {key, known.data, left}});
  }
  for (const auto& [key, found] : there) {
    if (!set.removed_by_rules && lasts(found) && !contents.contains(key))
      changes.push_back({Change::What::Remove, &set, {key, {}, {}}});
  }
  contents = std::move(there);
  return changes;
}

Result<std::vector<Element>> Sets::list(const SetName& name) {
  char buffer[4096];
  const SetPointer ask = make_set(name);
  nlmsghdr* header =
      nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETSETELEM, static_cast<std::uint16_t>(name.family),
                            NLM_F_DUMP, netlink_.next_sequence());
  nftnl_set_elems_nlmsg_build_payload(header, ask.get());
  const SetPointer answer = make_set(name);
  TRY(netlink_.dump(header, name.set.c_str(), [&](const nlmsghdr* message) {
    nftnl_set_elems_nlmsg_parse(message, answer.get());
  }));
  std::vector<Element> out;
  const std::unique_ptr<nftnl_set_elems_iter, decltype(&nftnl_set_elems_iter_destroy)> it(
      nftnl_set_elems_iter_create(answer.get()), nftnl_set_elems_iter_destroy);
  for (const auto* e = nftnl_set_elems_iter_next(it.get()); e;
       e = nftnl_set_elems_iter_next(it.get())) {
    Element element{.key = attribute_of(e, NFTNL_SET_ELEM_KEY),
                    .data = attribute_of(e, NFTNL_SET_ELEM_DATA),
                    .expires_in = {}};
    if (nftnl_set_elem_is_set(const_cast<nftnl_set_elem*>(e), NFTNL_SET_ELEM_EXPIRATION)) {
      element.expires_in = std::chrono::milliseconds(
          nftnl_set_elem_get_u64(const_cast<nftnl_set_elem*>(e), NFTNL_SET_ELEM_EXPIRATION));
    }
    out.push_back(std::move(element));
  }
  return out;
}

}  // namespace sockmi::steer
