#include "lib/transport.h"

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

}  // namespace

Result<unsigned> import_endpoints(const std::vector<Wish>& wishes, int timeout, const std::function<Result<>(Arrived)>& accept) {
  TRY_LET(request, pack(wishes, timeout));
  TRY_LET(client, Client::connect());
  TRY_LET(reply, client.call("POST", "/v1/imports", request));
  TRY_LET(delivered, read_delivered(reply, wishes.size()));
  Secret taken;
  unsigned accepted = 0;
  Result<> last;
  if (reply.descriptors.size() < delivered.size()) last = fail(EMFILE, "{} endpoints and {} descriptors", delivered.size(), reply.descriptors.size());
  for (std::size_t i = 0; i < reply.descriptors.size(); ++i) {
    const auto* each = delivered[i];
    auto used = accept({each->request(), each->state(), std::move(reply.descriptors[i]), image::view(each->tls()), image::view(each->payload())});
    if (!used) {
      last = std::move(used);
      continue;
    }
    ++accepted;
    taken.insert(taken.end(), each->id()->begin(), each->id()->end());
  }
  // A daemon that is gone keeps nothing: what was accepted is the caller's alone. One that lives and has not understood keeps all.
  const auto told = delivered.empty() ? Result<Reply>() : client.call("POST", "/v1/imports/taken", taken);
  if (!told && told.error().code != ECONNRESET && accepted > 0) return std::unexpected(told.error());
  if (accepted == 0 && !last) return pass(std::move(last));
  return accepted;
}

void* copy_payload(ByteView payload) {
  if (payload.empty()) return nullptr;
  void* copy = std::malloc(payload.size());
  if (copy) std::memcpy(copy, payload.data(), payload.size());
  return copy;
}

}  // namespace sockmi::lib
