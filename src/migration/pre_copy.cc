#include "migration/pre_copy.h"

#include <algorithm>

#include "base/log.h"

namespace sockmi::daemon {
namespace {

// Bytes per message; each message prolongs the importer's reservation.
constexpr std::size_t kPreCopyChunkBytes = 4 << 20;
constexpr milliseconds kPreCopyTimeout{30000};          // per message, for the slowest links
constexpr std::size_t kPreCopyBudgetBytes = 256 << 20;  // bytes, of all endpoints together
// Bytes kept free for the image's part, which is appended, so that the buffer need not be
// moved for it.
constexpr std::size_t kImageHeadroomBytes = 1 << 20;

// Passes; each one leaves less than the one before.
constexpr int kMaxPreCopyPasses = 8;

// One pass: sends what is unread behind `known` if it is at least kMinPreCopyBytes bytes.
// Returns true if it sent something; that took time, so another pass may be worth it. On
// failure, returns false and empties `known`: pre-copy is then over.
asio::awaitable<bool> pre_copy(const Services& services, const cluster::SelectedHost& importer,
                               const wire::MigrationId& id, int socket, tcp::PreCopyRange& known,
                               Clock::time_point deadline) {
  const auto bytes = tcp::read_for_pre_copy(socket, known, kMinPreCopyBytes);
  Result<> sent = bytes ? Result<>() : std::unexpected(bytes.error());
  for (ByteView rest = sent ? ByteView(*bytes) : ByteView(); sent && !rest.empty();) {
    const ByteView piece = rest.first(std::min(rest.size(), kPreCopyChunkBytes));
    rest = rest.subspan(piece.size());
    const auto patience = std::min(
        kPreCopyTimeout, std::chrono::duration_cast<milliseconds>(deadline - Clock::now()));
    const auto reply = co_await services.control->call(importer.host, importer.control_address,
                                                       wire::pack_pre_copy(id, piece), patience);
    const auto answer = wire::answer_of(reply);
    if (!answer) sent = std::unexpected(answer.error());
  }
  if (sent) co_return !bytes->empty();
  log::debug("pre_copy_failed", {{"migration", wire::to_hex(id)}, {"error", sent.error()}});
  known = {};
  co_return false;
}

}  // namespace

asio::awaitable<void> pre_copy_queues(const Services& services, cluster::SelectedHost importer,
                                      std::vector<ExportedEndpoint*> those,
                                      Clock::time_point deadline) {
  std::erase_if(those, [](const ExportedEndpoint* one) { return one->passive(); });
  for (int pass = 0; pass < kMaxPreCopyPasses && !those.empty(); ++pass) {
    std::vector<ExportedEndpoint*> again;
    for (ExportedEndpoint* one : those) {
      if (co_await pre_copy(services, importer, one->id, one->socket.get(), one->pre_copied,
                            deadline))
        again.push_back(one);
    }
    those = std::move(again);
  }
}

Result<> PreCopies::add(const wire::MigrationId& id, const std::string& host, ByteView bytes) {
  if (bytes.size() > kPreCopyBudgetBytes - size_) {
    forget(id);
    return fail(ENOBUFS, "{} bytes are pre-copied already", size_);
  }
  Copy& copy = copies_.try_emplace(id, Copy{host, {}}).first->second;
  if (copy.host != host) return fail(EACCES, "endpoint belongs to another host");
  const std::size_t needed = copy.bytes.size() + bytes.size() + kImageHeadroomBytes;
  if (needed > copy.bytes.capacity()) copy.bytes.reserve(std::max(needed, 2 * copy.bytes.size()));
  copy.bytes.insert(copy.bytes.end(), bytes.begin(), bytes.end());
  size_ += bytes.size();
  return {};
}

Result<> PreCopies::put_before(wire::TcpT& image, std::uint32_t count, const wire::MigrationId& id,
                               const std::string& host) {
  const auto it = copies_.find(id);
  if (count > 0 &&
      (it == copies_.end() || it->second.host != host || it->second.bytes.size() < count))
    return fail(EBADMSG, "{} bytes of the receive queue were not pre-copied", count);
  if (count > 0) {
    Bytes queue = std::move(it->second.bytes);
    size_ -= queue.size();
    copies_.erase(it);
    queue.erase(queue.begin(), queue.end() - count);
    queue.insert(queue.end(), image.receive_queue.begin(), image.receive_queue.end());
    image.receive_queue = std::move(queue);
  }
  forget(id);
  return {};
}

void PreCopies::forget(const wire::MigrationId& id) {
  if (const auto it = copies_.find(id); it != copies_.end()) {
    size_ -= it->second.bytes.size();
    copies_.erase(it);
  }
}

}  // namespace sockmi::daemon
