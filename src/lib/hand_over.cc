#include "lib/hand_over.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <optional>

#include "base/token.h"
#include "base/unique_fd.h"
#include "lib/epoll_sets.h"
#include "lib/export_message.h"
#include "lib/http_client.h"

namespace sockmi::lib {
namespace {

// Replaces descriptors whose sockets another process has got.
class Replacement {
 public:
  static Result<Replacement> make() {
    unique_fd unconnected(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!unconnected) return fail_errno("cannot create a socket");
    return Replacement(std::move(unconnected));
  }
  // The caller closes `fd`. Until then nothing that it does with it can reach the socket
  // that has another owner now. Nothing fails here: `fd` is open.
  void replace(int fd) const {
    sets_.remove(fd);
    const int flags = ::fcntl(fd, F_GETFD);
    ::dup3(unconnected_.get(), fd, flags >= 0 && (flags & FD_CLOEXEC) ? O_CLOEXEC : 0);
  }

 private:
  explicit Replacement(unique_fd unconnected)
      : unconnected_(std::move(unconnected)),
        sets_(EpollSets::find()) {}
  unique_fd unconnected_;
  EpollSets sets_;
};

// A request under way.
class Offer {
 public:
  static Result<Offer> send(const ExportBatch& batch, const char* service, Deadline until) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    if (left.count() <= 0) return fail(ETIMEDOUT, "no time left");
    Offer offer(until);
    for (std::size_t k = 0; k < batch.items.size(); ++k) {
      const unsigned group = batch.items[k].group;
      if (group == 0 || k == 0 || group != batch.items[k - 1].group) {
        TRY_LET(token, Token::make());
        offer.tokens_.push_back(std::move(token));
      }
      offer.token_of_.push_back(offer.tokens_.size() - 1);
    }
    std::vector<int> descriptors;
    for (const ExportItem& one : batch.items)
      descriptors.push_back(one.fd);
    for (const Token& token : offer.tokens_)
      descriptors.push_back(token.fd());
    TRY_LET(request, pack_export(batch.items, AF_UNSPEC, nullptr, service, left));
    TRY_LET(client, Client::connect(until));
    // An incomplete request has no effect.
    TRY(client.send_request("POST", "/v1/hand-overs", request, descriptors, until));
    offer.client_ = std::move(client);
    return offer;
  }

  // Waits for the end. Returns a result for each endpoint.
  std::vector<Result<>> finish() {
    auto reply = client_->read_reply(until_ + kReplyMargin);
    answered_ = reply.has_value();
    const auto said = reply ? read(*reply) : std::unexpected(std::move(reply.error()));
    std::vector<Result<>> results;
    for (std::size_t k = 0; k < token_of_.size(); ++k)
      results.push_back(tokens_[token_of_[k]].take() ? why_it_stays(said, k) : Result<>());
    return results;
  }
  bool answered() const { return answered_; }

 private:
  explicit Offer(Deadline until) : until_(until) {}

  Result<std::vector<Result<>>> read(Reply& reply) const {
    if (reply.refused) return std::unexpected(std::move(*reply.refused));
    return read_results(reply, token_of_.size());
  }
  static Result<> why_it_stays(const Result<std::vector<Result<>>>& said, std::size_t k) {
    if (!said) return std::unexpected(said.error());
    if (!(*said)[k]) return (*said)[k];
    return fail(EBADMSG, "sockmid says that a process has the socket, and none has");
  }

  std::optional<Client> client_;
  std::vector<Token> tokens_;          // of the groups
  std::vector<std::size_t> token_of_;  // for each endpoint
  Deadline until_;
  bool answered_ = false;
};

}  // namespace

// While one request is on offer, the next one is prepared and sent already. After a
// request that the daemon does not answer in time, no further requests are sent.
void hand_over_endpoints(const ExportCall& call, const sockmi_export_options& options) {
  struct UnderWay {
    std::vector<std::size_t> which;
    std::vector<int> descriptors;
    Result<Offer> offer;
  };
  const Deadline end = options.timeout > 0
                           ? Clock::now() + std::chrono::milliseconds(options.timeout)
                           : Deadline::max();
  const auto replacement = Replacement::make();
  bool unanswered = false;
  const auto send = [&](const ExportBatch& batch) -> Result<Offer> {
    if (!replacement) return std::unexpected(replacement.error());
    if (unanswered) return fail(ETIMEDOUT, "sockmid does not answer");
    return Offer::send(batch, options.service, std::min(end, Clock::now() + kExport));
  };
  ExportBatches batches(call);
  std::deque<UnderWay> under_way;
  for (bool more = true; more || !under_way.empty();) {
    while (more && under_way.size() < 2) {
      ExportBatch batch = batches.next();
      more = !batch.empty();
      if (!more) break;
      UnderWay one{batch.which, {}, send(batch)};
      for (const ExportItem& item : batch.items)
        one.descriptors.push_back(item.fd);
      under_way.push_back(std::move(one));
    }
    if (under_way.empty()) break;
    UnderWay& oldest = under_way.front();
    std::vector<Result<>> results(oldest.which.size());
    if (oldest.offer) {
      results = oldest.offer->finish();
      unanswered |= !oldest.offer->answered();
    } else {
      std::ranges::fill(results, std::unexpected(oldest.offer.error()));
      unanswered |= oldest.offer.error().code == ETIMEDOUT;
    }
    for (std::size_t k = 0; k < results.size(); ++k) {
      if (results[k]) replacement->replace(oldest.descriptors[k]);
      call.settle(oldest.which[k], std::move(results[k]));
    }
    under_way.pop_front();
  }
}

}  // namespace sockmi::lib
