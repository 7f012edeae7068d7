#include "lib/daemon_requests.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <optional>

#include <nlohmann/json.hpp>

#include "base/address.h"
#include "base/scm_rights.h"
#include "base/token.h"
#include "lib/export_batches.h"
#include "lib/export_message.h"
#include "lib/hand_over.h"
#include "lib/http_client.h"
#include "wire/control_messages.h"
#include "wire/flatbuffer.h"

namespace sockmi::lib {
namespace {

using Builder = wire::WipingBuilder;

Result<flatbuffers::Offset<wire::Match>> pack(Builder& builder, const sockmi_match& match) {
  TRY(check_reserved(match));
  TRY_LET(ip, address_bytes(match.af, match.addr));
  if (match.af != AF_UNSPEC && match.prefix > ip.size() * 8)
    return fail(EINVAL, "invalid prefix length {}", match.prefix);
  const auto bytes = builder.CreateVector(ip.data(), ip.size());
  return wire::CreateMatch(builder, bytes, static_cast<std::uint8_t>(match.prefix), match.port);
}

Result<Secret> pack(const std::vector<ImportCriteria>& criteria, int timeout) {
  Builder builder;
  std::vector<flatbuffers::Offset<wire::Criteria>> packed;
  for (const ImportCriteria& each : criteria) {
    TRY(check_reserved(*each.criteria));
    TRY_LET(local, pack(builder, each.criteria->local));
    TRY_LET(remote, pack(builder, each.criteria->remote));
    const auto service =
        builder.CreateString(each.criteria->service ? each.criteria->service : "default");
    packed.push_back(wire::CreateCriteria(builder, service, static_cast<std::uint8_t>(each.states),
                                          static_cast<std::uint8_t>(each.preferred), local,
                                          remote));
  }
  builder.Finish(wire::CreateImportRequestDirect(builder, &packed, timeout, /*groups=*/true));
  return builder.take();
}

constexpr std::chrono::milliseconds kSettling{5'000};  // from a decision to its outcome

// A request under way. The request's token decides about its endpoints: if we take the
// token first, because the daemon does not answer in time, they stay; if the daemon takes
// it, at its first decision, they move. So we know what a daemon that is stopped will do
// when it continues, and what holds if it dies.
class Asked {
 public:
  static Result<Asked> send(std::span<const ExportItem> those, int af, const void* to,
                            const char* service, Deadline until) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
    if (left.count() <= 0) return fail(ETIMEDOUT, "no time left");
    TRY_LET(token, Token::make());
    std::vector<int> descriptors;
    for (const ExportItem& one : those)
      descriptors.push_back(one.fd);
    descriptors.push_back(token.fd());
    TRY_LET(request, pack_export(those, af, to, service, left));
    TRY_LET(client, Client::connect(until));
    // An incomplete request has no effect.
    TRY(client.send_request("POST", "/v1/exports", request, descriptors, until));
    return Asked(std::move(client), std::move(token), those.size(), until);
  }

  Result<std::vector<Result<>>> results() {
    const auto more = [this] {
      return token_.take() ? std::nullopt : std::optional(Clock::now() + kSettling);
    };
    auto reply = client_.read_reply(until_ + kReplyMargin, more);
    answered_ = reply.has_value();
    if (reply && reply->refused) return std::unexpected(std::move(*reply->refused));
    auto results = reply ? read_results(*reply, count_) : std::unexpected(std::move(reply.error()));
    if (results || token_.take()) return results;
    return fail(EINPROGRESS, "sockmid decided the move and does not report its outcome: {}",
                results.error().reason);
  }
  bool answered() const { return answered_; }

 private:
  Asked(Client client, Token token, std::size_t count, Deadline until)
      : client_(std::move(client)),
        token_(std::move(token)),
        count_(count),
        until_(until) {}
  Client client_;
  Token token_;
  std::size_t count_;
  Deadline until_;
  bool answered_ = false;
};

}  // namespace

// While the daemon moves one request's endpoints, the next request is prepared and sent
// already. After a request that the daemon does not answer in time, no further requests
// are sent.
void export_endpoints(const ExportCall& call, int af, const void* to,
                      const sockmi_export_options& options) {
  if (options.flags & SOCKMI_HAND_OVER) return hand_over_endpoints(call, options);
  struct UnderWay {
    std::vector<std::size_t> which;
    Result<Asked> asked;
  };
  const Deadline end = options.timeout > 0
                           ? Clock::now() + std::chrono::milliseconds(options.timeout)
                           : Deadline::max();
  bool unanswered = false;
  const auto send = [&](std::span<const ExportItem> those) -> Result<Asked> {
    if (unanswered) return fail(ETIMEDOUT, "sockmid does not answer");
    return Asked::send(those, af, to, options.service, std::min(end, Clock::now() + kExport));
  };
  ExportBatches batches(call);
  std::deque<UnderWay> under_way;
  for (bool more = true; more || !under_way.empty();) {
    while (more && under_way.size() < 2) {
      ExportBatch batch = batches.next();
      more = !batch.empty();
      if (more) {
        auto asked = send(batch.items);
        under_way.push_back({std::move(batch.which), std::move(asked)});
      }
    }
    if (under_way.empty()) break;
    UnderWay& oldest = under_way.front();
    auto results = oldest.asked ? oldest.asked->results() : std::unexpected(oldest.asked.error());
    unanswered |= oldest.asked ? !oldest.asked->answered() : oldest.asked.error().code == ETIMEDOUT;
    for (std::size_t k = 0; k < oldest.which.size(); ++k) {
      call.settle(oldest.which[k],
                  results ? std::move((*results)[k]) : std::unexpected(results.error()));
    }
    under_way.pop_front();
  }
}

Result<> export_endpoint(int fd, unsigned state, int af, const void* to, Secret tls,
                         const sockmi_export_options* options) {
  static constexpr sockmi_export_options kNone{};
  if (!options) options = &kNone;
  Result<> settled = fail(EBADMSG, "sockmid has not decided yet");
  export_endpoints({.groups = {0},
                    .prepare = [&](std::size_t) -> Result<ExportItem> {
                      return ExportItem{fd,
                                        state,
                                        std::move(tls),
                                        {static_cast<const std::uint8_t*>(options->payload),
                                         options->payload_len}};
                    },
                    .settle =
                        [&](std::size_t, Result<> result) {
                          settled = std::move(result);
                        }},
                   af, to, *options);
  return settled;
}

namespace {

struct Delivery {
  const wire::Delivered* what;
  unique_fd socket;
  // None: this process could not receive all descriptors.
  std::optional<Token> token;
};

// Reads and checks the whole response before any of it is used. Each endpoint comes with
// two descriptors, a socket and a token. There are fewer descriptors if this process
// cannot have more.
Result<std::vector<Delivery>> read_delivered(Reply& reply, std::size_t requests) {
  TRY_LET(response, wire::read<wire::ImportResponse>(reply.body));
  std::vector<Delivery> delivered;
  std::vector<bool> met(requests);
  if (response->delivered()) {
    for (const auto* each : *response->delivered()) {
      TRY(wire::read_id(wire::view(each->id())));
      if (each->request() >= requests || met[each->request()])
        return fail(EBADMSG, "unexpected endpoint from sockmid");
      met[each->request()] = true;
      delivered.push_back({each, {}, {}});
    }
  }
  auto& descriptors = reply.descriptors;
  if (descriptors.size() > 2 * delivered.size()) {
    return fail(EBADMSG, "malformed reply from sockmid: {} endpoints and {} descriptors",
                delivered.size(), descriptors.size());
  }
  for (std::size_t i = 0; 2 * i + 1 < descriptors.size(); ++i) {
    auto token = Token::adopt(std::move(descriptors[2 * i + 1]));
    if (!token) return fail(EBADMSG, "malformed reply from sockmid: an endpoint without a token");
    delivered[i].socket = std::move(descriptors[2 * i]);
    delivered[i].token = std::move(*token);
  }
  return delivered;
}

// Splits the endpoints by their groups. An endpoint without a group is alone in one.
std::vector<std::vector<Delivery>> by_group(std::vector<Delivery> all) {
  std::vector<std::vector<Delivery>> groups;
  std::map<std::uint32_t, std::size_t> known;
  for (Delivery& each : all) {
    const std::uint32_t group = each.what->group();
    const auto [it, added] = known.try_emplace(group, groups.size());
    if (added || group == 0) groups.emplace_back();
    groups[group == 0 ? groups.size() - 1 : it->second].push_back(std::move(each));
  }
  return groups;
}

struct Failed {
  const wire::Delivered* which;
  Error why;
};

// Notifies the daemon of what was taken, and what could not be taken and why. The daemon
// sees from the tokens what was taken, so nothing depends on the arrival of this message.
Result<> tell(Client& client, const std::vector<const wire::Delivered*>& taken,
              const std::vector<Failed>& failed) {
  Builder builder;
  std::vector<flatbuffers::Offset<wire::NotTaken>> reasons;
  reasons.reserve(failed.size());
  for (const auto& [which, why] : failed) {
    reasons.push_back(wire::CreateNotTaken(
        builder, builder.CreateVector(which->id()->data(), which->id()->size()), why.code,
        builder.CreateString(why.reason)));
  }
  std::vector<std::uint8_t> ids;
  for (const auto* each : taken)
    ids.insert(ids.end(), each->id()->begin(), each->id()->end());
  builder.Finish(wire::CreateTakenRequestDirect(builder, &ids, &reasons));
  const auto told = client.call("POST", "/v1/imports/taken", builder.take(),
                                Clock::now() + std::chrono::seconds(1));
  return told ? Result<>() : std::unexpected(told.error());
}

}  // namespace

Result<unsigned> import_endpoints(const std::vector<ImportCriteria>& criteria, int timeout,
                                  const std::function<Result<>(ImportedEndpoint)>& accept,
                                  const std::function<void(std::size_t)>& give_up) {
  const Deadline until =
      timeout < 0 ? Deadline::max() : soon() + std::chrono::milliseconds(timeout);
  TRY_LET(request, pack(criteria, timeout));
  TRY_LET(client, Client::connect(soon()));
  TRY_LET(reply, client.call("POST", "/v1/imports", request, until));
  TRY_LET(delivered, read_delivered(reply, criteria.size()));
  if (delivered.empty()) return 0u;
  std::vector<const wire::Delivered*> taken;
  std::vector<Failed> failed;
  Result<> last;
  for (std::vector<Delivery>& group : by_group(std::move(delivered))) {
    Result<> used;
    std::vector<std::size_t> met;
    for (auto& [what, socket, token] : group) {
      if (used) {
        used = token ? accept({what->request(), what->state(), std::move(socket),
                               wire::view(what->tls()), wire::view(what->payload()), what->group()})
                     : Result<>(fail(EMFILE, "cannot receive endpoints: no descriptors left"));
      }
      if (used) met.push_back(what->request());
    }
    const bool ours = used && group.front().token->take();
    if (ours) {
      for (const Delivery& each : group)
        taken.push_back(each.what);
      continue;
    }
    for (const std::size_t request : met)
      give_up(request);
    // Otherwise the daemon, which waits only for a limited time, has given the endpoints
    // to other importers.
    if (!used)
      for (const Delivery& each : group)
        failed.push_back({each.what, used.error()});
    last = used ? fail(ETIMEDOUT, "import took too long: sockmid has withdrawn the endpoint")
                : std::move(used);
  }
  (void)tell(client, taken, failed);
  if (taken.empty()) return pass(std::move(last));
  return static_cast<unsigned>(taken.size());
}

Result<> check_options(const sockmi_export_options& options, int af, const void* to) {
  TRY(check_reserved(options));
  if (options.flags & ~std::uint64_t(SOCKMI_HAND_OVER))
    return fail(EINVAL, "invalid flags {:#x}", options.flags);
  if (options.flags != 0 && af != AF_UNSPEC && to)
    return fail(EINVAL, "invalid hand-over: it has a host");
  return {};
}

Result<void*> copy_payload(ByteView payload) {
  if (payload.empty()) return nullptr;
  void* copy = std::malloc(payload.size());
  if (!copy) return fail(ENOMEM, "cannot allocate a payload of {} bytes", payload.size());
  std::memcpy(copy, payload.data(), payload.size());
  return copy;
}

}  // namespace sockmi::lib
