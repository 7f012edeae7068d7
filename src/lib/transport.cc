#include "lib/transport.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>

#include <nlohmann/json.hpp>

#include "base/address.h"
#include "image/endpoint.h"
#include "image/pack.h"
#include "lib/client.h"

namespace sockmi::lib {
namespace {

using Builder = image::WipingBuilder;

Result<ByteView> address_bytes(int af, const void* address) {
  if (!address || af == AF_UNSPEC) return ByteView();
  if (af != AF_INET && af != AF_INET6) return fail(EAFNOSUPPORT, "address family {}", af);
  return ByteView(static_cast<const std::uint8_t*>(address), af == AF_INET ? 4 : 16);
}

Result<flatbuffers::Offset<image::Match>> pack(Builder& builder, const sockmi_match& match) {
  TRY_LET(ip, address_bytes(match.af, match.addr));
  if (match.af != AF_UNSPEC && match.prefix > ip.size() * 8) return fail(EINVAL, "a prefix of {} bits", match.prefix);
  const auto bytes = builder.CreateVector(ip.data(), ip.size());
  return image::CreateMatch(builder, bytes, static_cast<std::uint8_t>(match.prefix), match.port);
}

Result<Secret> pack(const std::vector<Wish>& wishes, int timeout) {
  Builder builder;
  std::vector<flatbuffers::Offset<image::Criteria>> criteria;
  for (const Wish& wish : wishes) {
    TRY_LET(local, pack(builder, wish.criteria->local));
    TRY_LET(remote, pack(builder, wish.criteria->remote));
    const auto service = builder.CreateString(wish.criteria->service ? wish.criteria->service : "default");
    criteria.push_back(image::CreateCriteria(builder, service, static_cast<std::uint8_t>(wish.states),
                                             static_cast<std::uint8_t>(wish.preferred), local, remote));
  }
  builder.Finish(image::CreateImportRequestDirect(builder, &criteria, timeout));
  return builder.take();
}

constexpr std::size_t kMostTogether = 64;          // descriptors in one message
constexpr std::size_t kMostBytesTogether = 1 << 20;  // of images and payloads; one endpoint alone may have more

std::size_t size_of(const Leaving& one) { return one.tls.size() + one.payload.size(); }

// How many of them go in one request.
std::size_t together(std::span<const Leaving> all) {
  std::size_t count = 0;
  for (std::size_t bytes = 0; count < all.size() && count < kMostTogether; ++count)
    if ((bytes += size_of(all[count])) > kMostBytesTogether && count > 0) break;
  return count;
}

Result<Secret> pack(std::span<const Leaving> all, int af, const void* to, const sockmi_export_options& options) {
  TRY_LET(target, address_bytes(af, to));
  std::size_t size = 1024;
  for (const Leaving& one : all) size += 64 + size_of(one);
  Builder builder(size);
  std::vector<flatbuffers::Offset<image::ExportPart>> parts;
  for (const Leaving& one : all) {
    const auto tls = builder.CreateVector(one.tls.data(), one.tls.size());
    const auto payload = builder.CreateVector(one.payload.data(), one.payload.size());
    parts.push_back(image::CreateExportPart(builder, static_cast<std::uint8_t>(one.state), tls, payload));
  }
  const auto service = builder.CreateString(options.service ? options.service : "default");
  const auto target_bytes = builder.CreateVector(target.data(), target.size());
  builder.Finish(image::CreateExportRequest(builder, service, target_bytes, static_cast<std::uint32_t>(options.timeout), builder.CreateVector(parts)));
  return builder.take();
}

Result<> check(const Leaving& one) {
  if (one.payload.size() > SOCKMI_PAYLOAD_MAX) return fail(EMSGSIZE, "a payload of {} bytes; {} are the most", one.payload.size(), SOCKMI_PAYLOAD_MAX);
  return {};
}

Result<std::vector<Result<>>> read_results(const Reply& reply, std::size_t count) {
  const auto answer = nlohmann::json::parse(reply.body.begin(), reply.body.end(), nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object() || !answer["results"].is_array() || answer["results"].size() != count) return fail(EPROTO, "sockmid answered nonsense");
  std::vector<Result<>> results;
  for (const auto& each : answer["results"]) {
    const int code = each.value("errno", EPROTO);
    results.push_back(code == 0 ? Result<>() : std::unexpected(Error{code, each.value("error", std::string())}));
  }
  return results;
}

}  // namespace

// While the daemon moves one request's endpoints, the next request is on its way to it.
void export_endpoints(std::span<const Leaving> all, int af, const void* to, const sockmi_export_options& options,
                      const std::function<void(std::size_t, Result<>)>& settle) {
  struct UnderWay {
    Result<Client> client;
    std::size_t first, count;
  };
  const auto send = [&](std::span<const Leaving> those) -> Result<Client> {
    for (const Leaving& one : those) TRY(check(one));
    std::vector<int> descriptors;
    for (const Leaving& one : those) descriptors.push_back(one.fd);
    TRY_LET(request, pack(those, af, to, options));
    TRY_LET(client, Client::connect());
    TRY(client.send_request("POST", "/v1/exports", request, descriptors));
    return client;
  };
  const auto receive = [](UnderWay& sent) -> Result<std::vector<Result<>>> {
    if (!sent.client) return std::unexpected(sent.client.error());
    TRY_LET(reply, sent.client->read_reply());
    return read_results(reply, sent.count);
  };
  std::deque<UnderWay> under_way;
  for (std::size_t next = 0; next < all.size() || !under_way.empty();) {
    while (next < all.size() && under_way.size() < 2) {
      const std::size_t count = together(all.subspan(next));
      under_way.push_back({send(all.subspan(next, count)), next, count});
      next += count;
    }
    UnderWay& oldest = under_way.front();
    auto results = receive(oldest);
    for (std::size_t i = 0; i < oldest.count; ++i) settle(oldest.first + i, results ? std::move((*results)[i]) : std::unexpected(results.error()));
    under_way.pop_front();
  }
}

Result<> export_endpoint(int fd, unsigned state, int af, const void* to, ByteView tls, const sockmi_export_options* options) {
  static constexpr sockmi_export_options kNone{};
  if (!options) options = &kNone;
  const Leaving one{fd, state, tls, {static_cast<const std::uint8_t*>(options->payload), options->payload_len}};
  Result<> settled = fail(EPROTO, "undecided");
  export_endpoints({&one, 1}, af, to, *options, [&](std::size_t, Result<> result) { settled = std::move(result); });
  return settled;
}

namespace {

// Checked as a whole before any of it is used. There may be fewer descriptors than endpoints, if this process can have no more.
Result<std::vector<const image::Delivered*>> read_delivered(const Reply& reply, std::size_t wishes) {
  TRY_LET(response, image::read<image::ImportResponse>(reply.body));
  std::vector<const image::Delivered*> delivered;
  std::vector<bool> met(wishes);
  if (response->delivered())
    for (const auto* each : *response->delivered()) {
      TRY(image::read_id(image::view(each->id())));
      if (each->request() >= wishes || met[each->request()]) return fail(EPROTO, "an endpoint that nobody asked for");
      met[each->request()] = true;
      delivered.push_back(each);
    }
  if (reply.descriptors.size() > delivered.size()) return fail(EPROTO, "{} endpoints and {} descriptors", delivered.size(), reply.descriptors.size());
  return delivered;
}

struct Failed {
  const image::Delivered* which;
  Error why;
};

// Tells the daemon what was taken, and what could not be and why. What it has given to others meanwhile (it waits for us only so long) is in `gone`,
// by its id.
Result<std::vector<image::MigrationId>> tell(Client& client, const std::vector<const image::Delivered*>& accepted, const std::vector<Failed>& failed) {
  Builder builder;
  std::vector<flatbuffers::Offset<image::NotTaken>> reasons;
  for (const auto& [which, why] : failed)
    reasons.push_back(image::CreateNotTaken(builder, builder.CreateVector(which->id()->data(), which->id()->size()), why.code, builder.CreateString(why.reason)));
  std::vector<std::uint8_t> ids;
  for (const auto* each : accepted) ids.insert(ids.end(), each->id()->begin(), each->id()->end());
  builder.Finish(image::CreateTakenRequestDirect(builder, &ids, &reasons));
  TRY_LET(reply, client.call("POST", "/v1/imports/taken", builder.take()));
  TRY_LET(response, image::read<image::TakenResponse>(reply.body));
  return image::read_ids(image::view(response->gone()));
}

}  // namespace

Result<unsigned> import_endpoints(const std::vector<Wish>& wishes, int timeout, const std::function<Result<>(Arrived)>& accept,
                                  const std::function<void(std::size_t)>& give_up) {
  TRY_LET(request, pack(wishes, timeout));
  TRY_LET(client, Client::connect());
  TRY_LET(reply, client.call("POST", "/v1/imports", request));
  TRY_LET(delivered, read_delivered(reply, wishes.size()));
  std::vector<const image::Delivered*> accepted;
  std::vector<Failed> failed;
  for (std::size_t i = 0; i < delivered.size(); ++i) {
    const auto* each = delivered[i];
    auto used = i < reply.descriptors.size()
                    ? accept({each->request(), each->state(), std::move(reply.descriptors[i]), image::view(each->tls()), image::view(each->payload())})
                    : Result<>(fail(EMFILE, "{} endpoints and {} descriptors", delivered.size(), reply.descriptors.size()));
    if (used) accepted.push_back(each);
    else failed.push_back({each, std::move(used.error())});
  }
  if (delivered.empty()) return 0u;
  const auto gone = tell(client, accepted, failed);
  // A daemon that is gone keeps nothing: what was accepted is the caller's alone. One that lives and has not understood keeps all.
  if (!gone && gone.error().code != ECONNRESET && !accepted.empty()) {
    for (const auto* each : accepted) give_up(each->request());
    return std::unexpected(gone.error());
  }
  Result<> last;
  if (!failed.empty()) last = std::unexpected(failed.back().why);
  const auto is_gone = [&](const image::Delivered* each) { return gone && std::ranges::find(*gone, *image::read_id(image::view(each->id()))) != gone->end(); };
  for (const auto* each : accepted)
    if (is_gone(each)) {
      give_up(each->request());
      last = fail(ETIMEDOUT, "sockmid has taken the endpoint back: the import took too long");
    }
  const auto kept = accepted.size() - static_cast<std::size_t>(std::ranges::count_if(accepted, is_gone));
  if (kept == 0 && !last) return pass(std::move(last));
  return static_cast<unsigned>(kept);
}

void* copy_payload(ByteView payload) {
  if (payload.empty()) return nullptr;
  void* copy = std::malloc(payload.size());
  if (copy) std::memcpy(copy, payload.data(), payload.size());
  return copy;
}

}  // namespace sockmi::lib
