#include "lib/transport.h"

#include <cstdlib>
#include <cstring>

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

}  // namespace

Result<> export_endpoint(int fd, unsigned state, int af, const void* to, ByteView tls, const sockmi_export_options* options) {
  static constexpr sockmi_export_options kNone{};
  if (!options) options = &kNone;
  if (state == SOCKMI_BOUND || state == SOCKMI_LISTENING) return fail(ENOTSUP, "bound and listening sockets are not served yet");
  if (options->payload_len > SOCKMI_PAYLOAD_MAX) return fail(EMSGSIZE, "a payload of {} bytes; {} are the most", options->payload_len, SOCKMI_PAYLOAD_MAX);
  TRY_LET(target, address_bytes(af, to));
  Builder builder(1024 + tls.size() + options->payload_len);
  const auto service = builder.CreateString(options->service ? options->service : "default");
  const auto target_bytes = builder.CreateVector(target.data(), target.size());
  const auto image = builder.CreateVector(tls.data(), tls.size());
  const auto payload = builder.CreateVector(static_cast<const std::uint8_t*>(options->payload), options->payload_len);
  builder.Finish(image::CreateExportRequest(builder, service, static_cast<std::uint8_t>(state), target_bytes,
                                            static_cast<std::uint32_t>(options->timeout), image, payload));
  TRY_LET(client, Client::connect());
  auto reply = client.call("POST", "/v1/exports", builder.take(), fd);
  if (!reply) return pass(std::move(reply));
  return {};
}

Result<unsigned> import_endpoints(const std::vector<Wish>& wishes, int timeout, const std::function<Result<>(Arrived)>& accept) {
  TRY_LET(request, pack(wishes, timeout));
  TRY_LET(client, Client::connect());
  TRY_LET(reply, client.call("POST", "/v1/imports", request));
  TRY_LET(response, image::read<image::ImportResponse>(reply.body));
  const std::size_t count = response->delivered() ? response->delivered()->size() : 0;
  if (count != reply.descriptors.size()) return fail(EPROTO, "{} endpoints and {} descriptors", count, reply.descriptors.size());
  Secret taken;
  unsigned accepted = 0;
  Result<> last;
  for (std::size_t i = 0; i < count; ++i) {
    const auto* each = response->delivered()->Get(static_cast<unsigned>(i));
    TRY(image::read_id(image::view(each->id())));
    if (each->request() >= wishes.size()) return fail(EPROTO, "an endpoint that nobody asked for");
    auto used = accept({each->request(), each->state(), std::move(reply.descriptors[i]), image::view(each->tls()), image::view(each->payload())});
    if (!used) {
      last = std::move(used);
      continue;
    }
    ++accepted;
    taken.insert(taken.end(), each->id()->begin(), each->id()->end());
  }
  if (count > 0) TRY(client.call("POST", "/v1/imports/taken", taken));
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
