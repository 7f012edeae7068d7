#include "lib/export_batches.h"

#include <map>
#include <utility>

#include "base/scm_rights.h"

namespace sockmi::lib {
namespace {

// Bytes of images and payloads in one request. A single endpoint or group may have more.
constexpr std::size_t kMostBytesTogether = 1 << 20;
// What the daemon reads at most, less what the rest of a request needs.
constexpr std::size_t kMostBytesOfAGroup = (5 << 18) - (16 << 10);

Result<> check(const ExportItem& one) {
  if (one.payload.size() > SOCKMI_PAYLOAD_MAX) {
    return fail(EMSGSIZE, "payload of {} bytes is larger than {} bytes", one.payload.size(),
                SOCKMI_PAYLOAD_MAX);
  }
  return {};
}

}  // namespace

Result<> check_groups(const std::vector<unsigned>& groups, const std::vector<int>& states) {
  std::map<unsigned, std::size_t> sizes;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    if (groups[i] == 0) continue;
    if (++sizes[groups[i]] > SOCKMI_GROUP_MAX)
      return fail(EINVAL, "group {} has more than {} endpoints", groups[i], SOCKMI_GROUP_MAX);
    if (states[i] & (SOCKMI_BOUND | SOCKMI_LISTENING))
      return fail(EINVAL, "group {} has a bound or listening socket", groups[i]);
  }
  return {};
}

void ExportBatch::add(std::size_t i, ExportItem item) {
  bytes += item.size();
  which.push_back(i);
  items.push_back(std::move(item));
}

void ExportBatch::add(ExportBatch more) {
  for (std::size_t k = 0; k < more.items.size(); ++k)
    add(more.which[k], std::move(more.items[k]));
}

bool ExportBatch::has_room_for(const ExportBatch& more) const {
  return items.size() + more.items.size() <= kMaxDescriptorsPerMessage &&
         bytes + more.bytes <= kMostBytesTogether;
}

ExportBatches::ExportBatches(const ExportCall& call) : call_(call) {
  std::map<unsigned, std::size_t> known;
  for (std::size_t i = 0; i < call.groups.size(); ++i) {
    const auto [it, added] = known.try_emplace(call.groups[i], groups_.size());
    if (added || call.groups[i] == 0)
      groups_.push_back({i});
    else
      groups_[it->second].push_back(i);
  }
}

ExportBatch ExportBatches::next() {
  ExportBatch batch = std::exchange(next_, {});
  while (done_ < groups_.size()) {
    ExportBatch group = prepare(groups_[done_++]);
    if (!batch.empty() && !batch.has_room_for(group)) {
      next_ = std::move(group);
      break;
    }
    batch.add(std::move(group));
  }
  return batch;
}

// A group of which one endpoint cannot be prepared stays as a whole.
ExportBatch ExportBatches::prepare(const std::vector<std::size_t>& group) {
  ExportBatch batch;
  Result<> result;
  for (const std::size_t i : group) {
    auto item = call_.prepare(i);
    if (item) result = check(*item);
    if (!item) result = std::unexpected(std::move(item.error()));
    if (!result) break;
    item->group = call_.groups[i];
    batch.add(i, std::move(*item));
  }
  if (result && group.size() > 1 && batch.bytes > kMostBytesOfAGroup)
    result = fail(EMSGSIZE, "payloads and TLS states of a group have {} bytes, more than {}",
                  batch.bytes, kMostBytesOfAGroup);
  if (result) return batch;
  for (const std::size_t i : group)
    call_.settle(i, result);
  return {};
}

}  // namespace sockmi::lib
